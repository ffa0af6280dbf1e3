"""The picture of every run, and the statistics it is made of. Pure."""
