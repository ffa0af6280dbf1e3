"""What Prometheus scrapes: a table of metrics, and their exposition."""
