"""The senders, each a process of its own that speaks the same few words: see `bench.senders`."""
