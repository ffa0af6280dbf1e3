"""The pure middle: one input in, effects and findings out. No clock, file, socket or thread."""
