"""Would a test fail if the code were wrong? Small changes, one at a time, and the tests that should notice.

`make mutants`, or `python -m tests.mutants --count 60 --seed 1 monitor/vault`. The working tree is not touched.
"""
