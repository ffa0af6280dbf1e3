"""Who hears of it. A leaf: knows nothing of runs, ranks or detectors."""
