"""The benchmarks, with the peers beside them: `python -m bench`. See RESULTS.md for what they said."""
