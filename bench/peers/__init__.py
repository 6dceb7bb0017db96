"""The programs of the senders. `bench.senders` describes their protocol."""
