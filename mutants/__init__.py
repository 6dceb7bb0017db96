"""Mutation testing of the pure parts: small faults are put into the code, and the tests must notice them."""
