"""How the command line learns about runs: from the daemon over HTTP or, without one, from what is on disk."""
