"""Benchmarks of the relay and of comparable senders: `python -m bench`. RESULTS.md holds their figures."""
