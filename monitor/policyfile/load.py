"""A policy file: YAML text in, `Policy` out, or every mistake in it at once. Reads files; `messages` words mistakes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TypeGuard

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from monitor.core.model.section import Preset
from monitor.core.policy.settings import Policy
from monitor.policyfile.messages import VALUE_CHARS_MAX, Loc, Problem, nearest, problems_of, webhook_problems
from monitor.policyfile.presets import preset_text
from monitor.policyfile.receiver_configs import receiver_problems
from monitor.policyfile.receiver_schema import with_kinds

POLICY_CHARS_MAX = 256 * 1024  # a policy with every key and its comments has 5,000
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"  # which pydantic writes
PRESETS = tuple(str(preset) for preset in Preset)


class PolicyFileError(Exception):
    """A policy can't be used. One line for each mistake: file, line, column, key, value, rule, remedy."""

    def __init__(self, lines: list[str]) -> None:
        printable = [line.encode(errors="backslashreplace").decode() for line in lines]  # "\ud800" is in a text
        super().__init__("\n".join(printable))
        self.lines = tuple(printable)


def load_policy(path: Path) -> Policy:
    """The policy in a file. Raises PolicyFileError if it can't be read or holds mistakes; says all of them."""
    try:
        if path.exists() and not path.is_file():
            raise PolicyFileError([f"{path}: can't be read (not a plain file); write the policy into a file"])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyFileError([f"{path}: can't be read ({error.strerror}); check the path after --policy"]) from error
    except UnicodeDecodeError as error:
        raise PolicyFileError([f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    return policy_from_text(text, str(path))


def policy_from_text(text: str, name: str) -> Policy:
    """The policy in a text; `name` stands before each line of an error. An empty text is the default policy."""
    tree = _parse(text, name)
    document, odd = _plain(tree)
    if odd:
        raise _error(name, tree, odd)
    try:
        policy = Policy.model_validate_json(json.dumps({} if document is None else document), strict=True)
    except ValidationError as error:
        raise _error(name, tree, problems_of(error)) from None  # the cause shows values, and a value may be a secret
    if wrong := webhook_problems(policy) + receiver_problems(policy):
        raise _error(name, tree, wrong)
    return policy


def preset(name: str) -> str:
    """The text of a shipped policy, comments and all. Raises PolicyFileError for a name that is none."""
    if name not in PRESETS:
        raise PolicyFileError([f"preset {name!r}: there is none; {nearest(name, PRESETS)}"])
    return preset_text(Preset(name))


def effective_yaml(policy: Policy) -> str:
    """Every key with the value that holds, defaults filled in. Secrets are masked: it is for reading, not loading."""
    yaml = YAML(typ="rt")
    yaml.Representer = _ExplicitNull
    stream = io.StringIO()
    yaml.dump(policy.model_dump(mode="json"), stream)
    return stream.getvalue()


def schema_text() -> str:
    """The JSON Schema of a policy file, for editors: every key with its default, its limits and what it is for."""
    schema = {"$schema": SCHEMA_DIALECT, **with_kinds(Policy.model_json_schema()), "title": "trainwarden policy"}
    return json.dumps(schema, indent=2)


class _ExplicitNull(RoundTripRepresenter):
    """Writes null as the word, where ruamel writes nothing: an empty value reads like a forgotten one."""


_ExplicitNull.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def _parse(text: str, name: str) -> object:
    if len(text) > POLICY_CHARS_MAX:
        raise PolicyFileError(
            [f"{name}: {len(text)} characters; the limit is {POLICY_CHARS_MAX}, is it the right file?"]
        )
    try:
        return YAML(typ="rt").load(text)
    except DuplicateKeyError as error:  # its own text shows both values
        key = re.match(r'found duplicate key "([^"]*)"', str(error.problem))
        what = f"key {key[1]!r} is there twice" if key else "a key is there twice"
        raise PolicyFileError([f"{name}:{_at(error)}: {what}; keep one of the two"]) from None
    except MarkedYAMLError as error:
        why = str(error.problem)[:PROBLEM_CHARS_MAX]
        raise PolicyFileError([f"{name}:{_at(error)}: is not YAML ({why}); check indentation and quotes"]) from None
    except YAMLError:
        raise PolicyFileError(
            [f"{name}: holds characters that YAML does not allow; save it as plain UTF-8 text"]
        ) from None
    except RecursionError:
        raise PolicyFileError([f"{name}: is nested too deep; a policy has three levels"]) from None
    except Exception as error:  # noqa: BLE001 - the library's own checks are not complete: numbers of 5,000 digits, tags
        raise PolicyFileError([f"{name}: can't be read as YAML ({type(error).__name__}); write plain values"]) from None


def _at(error: MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"


DEPTH_MAX = 8  # a policy has three levels
PROBLEM_CHARS_MAX = 200  # of the library's own words, which may quote the file
WHOLE_MAX = 2**53  # beyond it a number is no longer exact where it is a float; no setting comes near
NODES_MAX = 10_000  # aliases can make few lines stand for billions of values


def _plain(tree: object) -> tuple[object, list[Problem]]:
    """The tree as JSON has it, and what JSON has no words for."""
    problems: list[Problem] = []
    nodes = 0

    def walk(node: object, loc: Loc) -> object:
        nonlocal nodes
        nodes += 1
        if nodes > NODES_MAX or len(loc) > DEPTH_MAX:
            if not problems:
                problems.append(
                    Problem(
                        loc[:DEPTH_MAX], "the file is nested too deep or repeats itself through aliases; write it out"
                    )
                )
            return None
        if isinstance(node, CommentedMap):
            problems.extend(
                Problem(loc, f"{_shown(key)} is not a key; keys are words") for key in node if not _is_text(key)
            )
            return {key: walk(value, (*loc, key)) for key, value in node.items() if _is_text(key)}
        if isinstance(node, CommentedSeq):
            return [walk(value, (*loc, index)) for index, value in enumerate(node)]
        if isinstance(node, float) and not -1e300 < node < 1e300:
            problems.append(Problem(loc, f"{node} is not a finite number; write a finite one"))
        if isinstance(node, str) and not _is_text(node):
            problems.append(Problem(loc, "the text holds half of a character (a lone surrogate); write it whole"))
            return None
        if isinstance(node, int) and abs(node) > WHOLE_MAX:
            problems.append(Problem(loc, f"is a whole number above {WHOLE_MAX}; write a smaller one"))
            return None
        return node if isinstance(node, (bool, int, float, str)) or node is None else str(node)

    return walk(tree, ()), problems


def _is_text(value: object) -> TypeGuard[str]:
    """A text that can be stored: half of a character (U+D800 to U+DFFF) can't."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _shown(key: object) -> str:
    try:
        return repr(key)[:VALUE_CHARS_MAX]
    except ValueError:  # a whole number of thousands of digits
        return "a number"


def _error(name: str, tree: object, problems: list[Problem]) -> PolicyFileError:
    lines = []
    for problem in problems:
        line, column = _position(tree, problem.loc)
        path = ".".join(str(part) for part in problem.loc) or "(the whole file)"
        lines.append((line, column, f"{name}:{line}:{column}: {path}: {problem.text}"))
    return PolicyFileError([text for _, _, text in sorted(lines)])


def _position(tree: object, loc: Loc) -> tuple[int, int]:
    """Line and column, from 1, of the key or item that `loc` names, or of the nearest thing above it that is there."""
    line, column = 0, 0
    for part in loc:
        if not isinstance(tree, (CommentedMap, CommentedSeq)) or part not in (tree.lc.data or {}):
            break
        line, column = tree.lc.data[part][:2]
        tree = tree[part]
    return line + 1, column + 1
