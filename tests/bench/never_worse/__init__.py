"""Real trainings of a tiny YOLO with planted faults, without protection and with several kinds of it."""
