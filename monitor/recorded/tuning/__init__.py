"""Searches thresholds of detectors on labelled runs, and says how well the choice does on runs held out. Pure."""
