"""Sentences that say that the loss is NaN, of scripts that then stop and print no numbers of that step. Pure."""

from __future__ import annotations

import re

BAD = rb"(?:nan|-?inf(?:inity|inite)?|not finite|non[- ]?finite|not a number)\b"
BECAME = rb"(?:is|are|was|becomes?|became|(?:went|goes|going|diverged|exploded|changed) to|turned(?: in)?(?:to)?|=)"
MET_BY = rb"(?:got|encountered|found|detected|skipping|hit|due to|because of|received|saw)"
SENTENCE = re.compile(
    rb"\bloss(?:es)?\b[^,.;:=]{0,40}?\s?" + BECAME + rb"\s?(?:now |already )?" + BAD
    + rb"|" + BAD + rb" (?:was |is |value )?(?:(?:detected|found) )?in (?:the |your )?(?:\w+ )?loss"
    + rb"|" + MET_BY + rb" (?:an? )?" + BAD + rb" (?:\w+ )?loss"
    + rb"|" + BAD + rb" loss(?:es)?(?:[!,.]|$| (?:at|encountered|detected|during|found|in)\b)"
    + rb"|\binvalid loss, ",
    re.IGNORECASE,
)  # fmt: skip
# no sentence about this step: a setting, a count, an answer no, a validation
OTHERWISE = re.compile(
    rb"\b(?:if|when|whether|unless|until|no|0(?= nan| inf| non)|without|any|never|checks?|checking"
    rb"|\w*valid(?:ation)?|val|eval\w*|test\w*)\b(?! loss, )"
    rb"|" + BAD + rb"\s*(?:\?|[:=]\s*(?:false|no|0|off|none)\b)",
    re.IGNORECASE,
)
WORDS = (b"nan", b"inf", b"valid", b"number", b"finite")  # one of them is in every such sentence: looked for first


def reports_nan(line: bytes) -> bool:
    """True for a line that says in words that the loss of a training step is not finite."""
    lower = line.lower()
    if b"loss" not in lower or not any(word in lower for word in WORDS):
        return False
    return bool(SENTENCE.search(line)) and not OTHERWISE.search(line)
