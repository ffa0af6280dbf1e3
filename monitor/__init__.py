"""The daemon, the supervisor and the command line. It imports `trainer_hooks.wire`, and never torch."""
