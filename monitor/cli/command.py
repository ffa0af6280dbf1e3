"""A command or group whose help ends with examples, one to a line, which click's own wrapping would run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class _WithExamples(click.Command):
    def __init__(self, *args: Any, examples: Sequence[str], **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")
        super().format_epilog(ctx, formatter)


class Command(_WithExamples):
    """A command; `examples` are command lines as a user would type them."""


class Group(_WithExamples, click.Group):
    """A group of commands; `examples` are command lines as a user would type them."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **({"no_args_is_help": False} | keywords))  # a sentence, and not the whole help
