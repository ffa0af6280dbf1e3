"""The part of trainwarden that lives in somebody else's training. Importing it loads no torch and starts nothing."""
