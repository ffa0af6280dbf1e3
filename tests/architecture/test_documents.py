"""What the documents name is there: links, paths, commands with their options, make's targets, Python modules."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from monitor.cli import commands

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "BENCHMARKS.md", *(
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))
))  # fmt: skip
LINK = re.compile(r"\]\(([^)#\s]*)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:monitor|trainer_hooks|alerts|tests|docs|deploy)/[\w/.*-]*)`")
COMMAND = re.compile(r"\btrainwarden ((?:[a-z]+)(?: [^`\n#|]*)?)")
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
MODULE = re.compile(r"python -m ((?:monitor|tests)[\w.]*)")
EXAMPLES = {"seven.py", "fasttext_stdout.py", "plain_text.py", "notifier_plain_text.py"}  # of CONTRIBUTING.md


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def code_of(document: str) -> Iterator[str]:
    """Everything in backticks or in a block of code."""
    text = text_of(document)
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from (re.sub(r"#.*", "", block) for block in blocks)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    yield from re.findall(r"^    (\S.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    links = [link for link in LINK.findall(text_of(document)) if link and "://" not in link]
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


def anchors_of(document: Path) -> set[str]:
    """What GitHub makes of its headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_into_a_document_leads_to_a_heading(document: str) -> None:
    for path, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text_of(document)):
        target = (ROOT / document).parent / path if path else ROOT / document
        assert anchor in anchors_of(target), f"{path}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_is_there(document: str) -> None:
    paths = [path for path in PATH.findall(text_of(document)) if "<" not in path and Path(path).name not in EXAMPLES]
    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_of_make_is_there(document: str) -> None:
    targets = {line.split(":")[0] for line in text_of("Makefile").splitlines() if re.match(r"[a-z-]+:", line)}
    named = {target for code in code_of(document) for target in TARGET.findall(code)}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_is_run_is_there(document: str) -> None:
    for module in MODULE.findall(text_of(document)):
        assert importlib.util.find_spec(module.rstrip(".")), module


def commands_in(document: str) -> list[str]:
    return [found.strip() for code in code_of(document) for found in COMMAND.findall(code)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_option_is_one_of_trainwarden(document: str) -> None:
    for line in commands_in(document):
        ours = line.split(" -- ")[0].split()
        context = click.Context(commands)
        command = commands.get_command(context, ours[0])
        assert command is not None, line
        while isinstance(command, click.Group) and len(ours) > 1 and ours[1] in command.list_commands(context):
            command, ours = command.get_command(context, ours[1]) or command, ours[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in ours[1:] if re.fullmatch(r"-{1,2}[a-z][\w-]*(=.*)?", word)}
        assert used <= known | {"--help"}, line


def test_what_troubleshooting_quotes_is_what_people_see() -> None:
    """A text in quotes in its first column stands in the sources as it is."""
    sources = "".join(
        path.read_text() for folder in ("monitor", "trainer_hooks") for path in (ROOT / folder).rglob("*.py")
    )
    rows = re.findall(r"^\| ([^|]*) \|", text_of("docs/troubleshooting.md"), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r'"([^"]+)"', row)]
    assert len(quoted) > 5
    assert [text for text in quoted if text not in sources] == []


def test_the_readme_names_commands() -> None:
    assert len(commands_in("README.md")) > 15


def rules_in(document: str) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of the tables that compare rules, by rule and severity: each cell by its column's first words."""
    found, columns = {}, [""]
    for line in text_of(document).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| who | severity |"):
            columns = [re.sub(r" healthy batches| \(.*\)", "", cell) for cell in cells]
        elif line.startswith("|") and len(cells) == len(columns) and not set(line) <= set("|- "):
            found[cells[0], cells[1]] = dict(zip(columns, cells, strict=True))
        elif not line.startswith("|"):
            columns = [""]
    return found


def test_the_readme_quotes_the_measured_table_as_it_stands() -> None:
    quoted, measured = rules_in("README.md"), rules_in("BENCHMARKS.md")
    assert len(quoted) > 5
    for rule, cells in quoted.items():
        assert cells.items() <= measured[rule].items(), rule
