"""The smallest integration that there can be, as an example of what a trainer costs that is only watched.

`rounds` is what would stand in trainer_hooks/integrations. `sample` is its training, and the trainer that it watches.
"""
