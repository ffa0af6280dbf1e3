"""What every integration does alike: counts, delayed reads of a device's scalars, settings that change, start and end.

An integration says where in its framework each thing is found; see trainer_hooks.integrations.plain for a small one.
"""
