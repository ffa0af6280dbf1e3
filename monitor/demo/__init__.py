"""The main job on a machine of two cores: a night that goes wrong, in 90 seconds."""
