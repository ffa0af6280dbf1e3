"""Plays the demo's night, with trainwarden or without it. An edge file: starts processes and prints."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

import _trainwarden
from monitor.client.http import Client, ClientError
from monitor.core.model.channel import Health
from monitor.demo.checks import Check, checks_of
from monitor.demo.collected import gather
from monitor.demo.control import ruin_of
from monitor.demo.receiver import AlertReceiver
from monitor.demo.scene import BATCHES_PER_EPOCH, EPOCHS, RUN, Scene, lay_out

EXIT_INTERRUPTED = 130
DAEMON_LEAVES_S = 10.0  # it writes one snapshot and closes

PROLOGUE = f"""\
A real training of a tiny YOLOv8, {EPOCHS} epochs of {BATCHES_PER_EPOCH} batches. Its script is an ordinary one:
    {{script}}
The fault is injected from outside, by a sitecustomize on PYTHONPATH that the script knows nothing of:
    {{fault}}
From batch 32 of epoch 4 on, one batch in ten overflows in a float16 multiplication before the model's first layer and
becomes infinite; that stops once the learning rate is halved. Epochs 1 to 3 are clean.
"""
POLICY = f"""\
The policy is the default one, made to fit so short a night: it may redo a whole epoch, so that going back comes first:
    {{policy}}

$ trainwarden run --run {RUN} --policy night.yaml -- python train.py
"""


def play(keep: Path | None) -> int:
    """The night under `trainwarden run`; prints a check list and returns 0 if every line of it holds, else 1.

    Raises:
        SceneError: it can't be set up.
    """
    started_s = time.monotonic()
    with AlertReceiver() as receiver:
        scene = _set_up(keep, receiver.url)
        click.echo(POLICY.format(policy=scene.policy))
        try:
            code = _start(scene, [*_supervised(scene), "--", sys.executable, str(scene.script)])
            if code in (-signal.SIGINT, EXIT_INTERRUPTED):
                return EXIT_INTERRUPTED
            evidence = gather(scene, code, receiver)
        finally:
            _end_daemon(scene)
    checks = checks_of(evidence)
    _print_checks(checks, time.monotonic() - started_s)
    click.echo(f"\nThe incident report:    {evidence.report_path}\nEverything of the demo: {scene.folder}")
    return 0 if all(check.holds for check in checks) else 1


def play_control(keep: Path | None) -> int:
    """The same night without trainwarden; returns 0 if the fault did to it what it is there to do, else 1.

    Raises:
        SceneError: it can't be set up.
    """
    started_s = time.monotonic()
    scene = _set_up(keep, receiver_url="http://127.0.0.1/nobody")
    click.echo("$ python train.py        (Ultralytics alone)\n")
    code = _start(scene, [sys.executable, str(scene.script)])
    if code in (-signal.SIGINT, EXIT_INTERRUPTED):
        return EXIT_INTERRUPTED
    checks = ruin_of(scene, code)
    _print_checks(checks, time.monotonic() - started_s)
    click.echo(f"\nEverything of the control: {scene.folder}\nThe same with trainwarden: trainwarden demo")
    return 0 if all(check.holds for check in checks) else 1


def _set_up(keep: Path | None, receiver_url: str) -> Scene:
    folder = keep or Path(tempfile.mkdtemp(prefix="trainwarden-demo-"))
    scene = lay_out(folder, receiver_url)
    click.echo(PROLOGUE.format(script=scene.script, fault=scene.fault / "sitecustomize.py"))
    return scene


def _supervised(scene: Scene) -> list[str]:
    title = ["--title", "the demo's night"]
    return _trainwarden.console_command("run", "--run", RUN, *title, "--policy", str(scene.policy), "--port", "0")


def _start(scene: Scene, command: list[str]) -> int:
    """The exit code of the command, which has the terminal while it runs. Negative: the signal that ended it."""
    process = subprocess.Popen(command, cwd=scene.folder, env=scene.environment(dict(os.environ)))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it reached the command as well, which ends in its own way and in its own time
            continue


def _end_daemon(scene: Scene) -> None:
    """End the daemon that the demo's run started; it would leave by itself after a while."""
    try:
        with Client(scene.control_socket) as client:
            pid = client.get("/api/v1/health", Health).pid
        descriptor = os.pidfd_open(pid)
    except (ClientError, ProcessLookupError):
        return  # it was never started, or is gone
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        select.select([descriptor], [], [], DAEMON_LEAVES_S)
    finally:
        os.close(descriptor)


def _print_checks(checks: list[Check], seconds: float) -> None:
    click.echo(f"\nWhat this command has verified ({seconds:.0f} s):")
    for check in checks:
        mark = click.style("  ok  ", fg="green") if check.holds else click.style("FAILED", fg="red", bold=True)
        click.echo(f"  {mark}  {check.claim}: {check.seen}")
