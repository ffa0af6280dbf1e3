"""The daemon, the shim and the command line. Of `trainer_hooks` it imports the wire alone; it never imports torch."""
