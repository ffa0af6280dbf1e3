"""Frames from hooks become inputs of the core."""
