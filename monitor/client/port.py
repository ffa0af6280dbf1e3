"""The one port: of the metrics and the page, on the loopback. Imports nothing, since `--help` shows it."""

DEFAULT_PORT = 9469
