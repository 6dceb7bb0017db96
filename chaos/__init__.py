"""The proof that no accepted push is lost: a relay of several nodes under load, while everything around it fails."""
