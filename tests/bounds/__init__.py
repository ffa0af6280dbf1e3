"""Each limit of the product, driven to its end: what comes after it, and what counts what it cost."""
