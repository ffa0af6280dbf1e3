"""Questions that evidence answers: each takes a case and returns a sentence where it holds, nothing where it doesn't.

"Doesn't hold" is no evidence of the contrary: what speaks against a cause is asked for by its own question.
"""
