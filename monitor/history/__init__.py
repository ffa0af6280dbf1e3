"""What the daemon remembers: one SQLite file, written by one connection on one thread, read by others read-only."""
