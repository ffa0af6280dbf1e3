"""HTTP around snapshots."""
