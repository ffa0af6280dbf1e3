"""One file a detector, registered by name."""
