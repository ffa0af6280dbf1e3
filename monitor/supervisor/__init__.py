"""The training's only parent: starts, waits, stops, relaunches."""
