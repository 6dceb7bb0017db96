"""The proof that nothing is lost: a relay of several nodes under load, while everything around it fails."""
