"""Pages for operators: publishers, credentials, nodes, the queue, rates and the audit log."""
