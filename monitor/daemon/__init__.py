"""The daemon: one process per user and host that watches many runs. The thin edges around the core."""
