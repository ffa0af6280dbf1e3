"""What a framework is stands in its integration's folder and nowhere in the monitor."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.core.model.frameworks import attached_to, checkpoint_keys, files_of, framework_named, frameworks
from tests.architecture.test_imports import ROOT, loaded_by
from trainer_hooks import attach

INTEGRATIONS = ROOT / "trainer_hooks" / "integrations"
FACTS = re.compile(
    r"ultralytics|\byolo|last\.pt|best\.pt|results\.csv|weights/"  # the framework and its files
    r"|\blr0\b|\blrf\b|cos_lr|warmup_bias_lr|close_mosaic"  # its settings, wherever they stand
    r"|[\"'](?:warmup_epochs|warmup_momentum|best_fitness|train_args)[\"']",  # and as text in quotes
    re.IGNORECASE,
)
FOREIGN = ("monitor/recorded/importers/", "monitor/demo/")  # logs of any framework; a real training of one of them
JUSTIFIED = {
    "monitor/core/diagnosis/cause_table.py": {"measured on Ultralytics 8.4.190"},  # where its weights come from
    "monitor/cli/verify_command.py": {'examples=("trainwarden verify runs/detect/train/weights/last.pt",)'},
    "monitor/cli/backtest.py": {
        '"trainwarden backtest runs/detect/train/results.csv"',  # --help shows what people type
        "logs of Ultralytics, Hugging Face, Lightning",  # the list of the log formats that are read
    },
    "monitor/cli/run_command.py": {"-- yolo detect train model=yolov8n.yaml"},  # --help shows what people type
    "monitor/cli/demo.py": {"a real YOLO training", "a tiny YOLOv8", "trainwarden[ultralytics]"},  # what the demo does
}


def facts_in(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if FACTS.search(line):
            yield number, line.strip()


def monitored_files() -> Iterator[Path]:
    for path in sorted((ROOT / "monitor").rglob("*")):
        if path.suffix in {".py", ".yaml", ".json"} and not str(path.relative_to(ROOT)).startswith(FOREIGN):
            yield path


def test_no_file_of_the_monitor_states_a_fact_of_a_framework() -> None:
    """It reads the description of the training's framework instead; the few lines that may name one are listed."""
    found = [
        f"{name}:{number}: {line}"
        for path in monitored_files()
        for name in [str(path.relative_to(ROOT))]
        for number, line in facts_in(path)
        if not any(allowed in line for allowed in JUSTIFIED.get(name, ()))
    ]
    assert not found, "\n".join(found)


def test_every_line_that_may_name_a_framework_is_still_there() -> None:
    stale = [
        (name, allowed)
        for name, lines in JUSTIFIED.items()
        for allowed in lines
        if not any(allowed in line for _, line in facts_in(ROOT / name))
    ]
    assert not stale


def test_the_monitor_imports_the_descriptions_and_nothing_else_of_an_integration() -> None:
    """The import contract sees static imports; the module that finds the descriptions asks for `framework` alone."""
    text = (ROOT / "monitor" / "core" / "model" / "frameworks.py").read_text()
    assert re.findall(r"import_module\((.*?)\)", text) == ['f"{integrations.__name__}.{name}.framework"']
    others = [path for path in monitored_files() if "trainer_hooks.integrations" in path.read_text()]
    assert not others


def test_every_integration_is_described() -> None:
    folders = {path.name for path in INTEGRATIONS.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {path.parent.name for path in INTEGRATIONS.glob("*/framework.py")}
    assert len(frameworks()) == len({one.name for one in frameworks()}) == len(folders)
    assert sum(one.describes_others for one in frameworks()) == 1


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in INTEGRATIONS.glob("*/framework.py")))
def test_a_description_loads_neither_torch_nor_the_framework(folder: str) -> None:
    loaded = loaded_by(f"trainer_hooks.integrations.{folder}.framework")
    assert not loaded & {"torch", "ultralytics", "numpy", "zmq", "pydantic", "monitor", "alerts"}


def test_a_framework_that_nobody_describes_is_taken_for_a_loop_written_by_hand() -> None:
    assert framework_named("something new").name == framework_named("torch").name == "torch"
    assert framework_named("ultralytics").clip_norm == 10.0
    assert attached_to() == "Ultralytics 8.3.213 and newer"


def test_a_plan_that_names_no_framework_follows_the_layout_that_is_described() -> None:
    assert files_of("") == files_of("ultralytics")
    assert len(checkpoint_keys()) == 1


def test_the_hooks_attach_to_what_the_descriptions_name() -> None:
    """`attach` can't import a description: every Python process loads it, and it must cost nothing."""
    described = {one.trainer_module for one in frameworks() if one.trainer_module}
    assert set(attach.INTEGRATIONS) == described
    for one in frameworks():
        if one.trainer_module:
            package = importlib.import_module(f"{attach.INTEGRATIONS[one.trainer_module]}.framework")
            assert one == package.FRAMEWORK


def test_the_release_that_is_named_is_the_one_that_is_installed_at_least() -> None:
    least = re.search(r'"ultralytics>=([\d.]+)', (ROOT / "pyproject.toml").read_text())
    assert least is not None
    assert f" {least[1]} " in framework_named("ultralytics").supported
