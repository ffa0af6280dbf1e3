"""Every setting is described in sentences that stand alone in an editor, and the documents are made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from monitor.core.detectors import load_all
from monitor.core.model.section import InPreset, sentences_of
from monitor.core.policy.settings import Detectors, Policy, Rollback, Strengthen, Watch, Webhook
from monitor.policyfile.reference import with_tables

ROOT = Path(__file__).resolve().parents[3]
MODELS: list[type[BaseModel]] = [
    Policy, Detectors, Rollback, Strengthen, Watch, Webhook, *(one.config for one in load_all().values()),
]  # fmt: skip
REPLACED = re.compile(
    r"\b(told|tells?|tell|says?|said|story|spells?|unheard|lifted|beacon|lookout|pulse|papers|put right|put aside"
    r"|condemned|knobs?|tally|wolf|wolves|rungs?|obey|turned|acted|seconds it|unsupervised)\b",
    re.IGNORECASE,
)
TEXTS = [
    (f"{model.__name__}.{name}", field.description or "")
    for model in MODELS
    for name, field in model.model_fields.items()
] + [
    (f"{model.__name__}.{name} in {change.preset}", change.reason)
    for model in MODELS
    for name, field in model.model_fields.items()
    for change in field.metadata
    if isinstance(change, InPreset)
]


@pytest.mark.parametrize(("setting", "text"), TEXTS, ids=[setting for setting, _ in TEXTS])
def test_every_setting_is_described_in_full_plain_sentences(setting: str, text: str) -> None:
    assert text, f"{setting} has no description"
    assert text[0].isupper()
    assert text.endswith(".")
    assert len(text.split()) >= 6
    assert not REPLACED.search(text)


@pytest.mark.parametrize("model", MODELS, ids=[model.__name__ for model in MODELS])
def test_every_section_says_what_it_is_for(model: type[BaseModel]) -> None:
    text = sentences_of(model)
    assert text[0].isupper()
    assert text.endswith(".")
    assert not REPLACED.search(text)


def test_a_detector_with_a_switch_to_act_may_open_an_incident() -> None:
    """What the texts say of `act` is true of no other detector."""
    for one in load_all().values():
        if "act" in one.config.model_fields:
            assert "incident" in (one.config.model_fields["act"].description or "")
            assert "act: " in one.leads_to


def test_the_documented_tables_are_what_the_settings_say() -> None:
    """After a change run `make docs`."""
    text = (ROOT / "docs" / "detection.md").read_text()
    assert with_tables(text) == text
    assert all(f"| `{name}` |" in text for name in load_all())


def test_a_document_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="'detectors' is not marked"):
        with_tables("# A page\n")
