"""Which checkpoint may be trusted."""
