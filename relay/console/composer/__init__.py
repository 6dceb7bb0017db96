"""The composer: a form in which a publisher writes, previews, tests and sends a push."""
