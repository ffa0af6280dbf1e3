"""The fault bench: what is found, how soon, and how often the wolf is cried, on streams whose truth is known."""
