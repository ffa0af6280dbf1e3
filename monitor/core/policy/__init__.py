"""Findings become incidents, and incidents become effects, under limits. Pure."""
