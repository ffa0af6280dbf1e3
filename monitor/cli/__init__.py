"""The command line. This file knows the names of the commands; what one needs is imported when it is called."""

from __future__ import annotations

import importlib
import io
import re
import sys
from collections.abc import Sequence

import click

from monitor.cli.command import Group

EXIT_INTERRUPTED = 130  # as a shell has it for Ctrl-C

# name -> where the command is ("module:attribute" below monitor.cli) and the line that --help shows for it.
COMMANDS = {
    "run": ("run_command:run", "Supervise a training: trainwarden run -- python train.py"),
    "resume": ("resume_command:resume", "Start a run again from its newest clean state, after a reboot or a crash."),
    "serve": ("serve:serve", "Run the daemon in the foreground."),
    "status": ("status_command:status", "Show what every run is doing, or one run in detail."),
    "top": ("top_command:top", "Show every run at a glance, live, in the terminal."),
    "page": ("page_command:page", "Print a link that opens the page in a browser, for you or for looking only."),
    "report": (
        "report_command:report",
        "Report what happened in a run, or compare two runs. Markdown, or one HTML page.",
    ),
    "checkpoints": ("checkpoints_command:checkpoints", "List the checkpoints of a run, and whether to trust each."),
    "verify": ("verify_command:verify", "Check one checkpoint file without running anything in it."),
    "stop": ("orders:stop", "Stop a run after its current batch. You can resume it from its last checkpoint."),
    "adjust": ("orders:adjust", "Go on with safer settings, without going back."),
    "rollback": ("orders:rollback", "Roll a run back to its newest clean checkpoint."),
    "alerts": ("alerts_command:alerts", "Set up, test and show who gets which alert."),
    "silence": ("silence_command:silence", "Send no alerts for a while."),
    "ack": ("silence_command:ack", "Acknowledge an incident: no reminders of it are sent."),
    "policy": ("policy:policy", "Check, show and list policies."),
    "backtest": ("backtest:backtest", "Test a policy on recorded logs of any framework."),
    "tune": ("tune:tune", "Search for the thresholds that work best on your own labelled runs."),
    "demo": ("demo:demo", "Watch a real training fail, roll back and finish, in about a minute."),
}


class LazyGroup(Group):
    """A group whose commands are imported one at a time, when called: `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"monitor.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from monitor.cli.failure import nearest

            raise click.UsageError(f"{args[0]!r} is not a command{nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


IN_PLAIN_WORDS = (
    (re.compile(r"is not a valid integer(?: range)?\b"), "is not a whole number"),
    (re.compile(r"is not a valid float(?: range)?\b"), "is not a number"),
    (re.compile(r"is not in the range x>=(\S+)"), r"is below \1"),
    (re.compile(r"is not in the range x>(\S+)"), r"is not above \1"),
    (re.compile(r"is not in the range (\S+?)<=x<=(\S+)"), r"is not between \1 and \2"),
)
EXAMPLES = (
    "trainwarden demo                      a real training that goes wrong, in about a minute",
    "trainwarden run -- python train.py    the same for your training; the script stays as it is",
    "trainwarden status                    what every run is doing",
)


@click.group(cls=LazyGroup, examples=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trainwarden", prog_name="trainwarden")
def commands() -> None:
    """Watch a training while it runs, stop it when it goes wrong, and roll it back to a proven clean checkpoint."""


def main() -> None:
    """Carry out the command line of this process and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that are not text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    raise SystemExit(execute(sys.argv[1:] or ["--help"]))


def execute(arguments: Sequence[str], command: click.Command = commands, name: str = "trainwarden") -> int:
    """The exit code of a command line. Whatever a user can do wrong ends as one sentence on stderr."""
    try:
        code = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else name
        click.echo(f"trainwarden: {_sentence(error)}; see {path} --help", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0


def _sentence(error: click.UsageError) -> str:
    """What click found wrong, in words that every user knows."""
    text = error.format_message().rstrip(".")
    for jargon, plain in IN_PLAIN_WORDS:
        text = jargon.sub(plain, text)
    return text
