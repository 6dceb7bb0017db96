"""Pages for publishers: apps, pushes, customers, push tokens, test devices and webhooks."""
