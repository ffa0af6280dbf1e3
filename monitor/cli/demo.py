"""`trainwarden demo`: the main job, for real, in about a minute."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.command import Command
from monitor.cli.failure import Failure
from monitor.errors import EXIT_CONFIG


@click.command(
    cls=Command, examples=("trainwarden demo", "trainwarden demo --keep night", "trainwarden demo --control")
)
@click.option(
    "--keep", metavar="FOLDER", type=click.Path(path_type=Path), help="Where to put everything: a new folder."
)
@click.option("--control", is_flag=True, help="The same training without trainwarden, for comparison.")
def demo(keep: Path | None, control: bool) -> int:
    """Watch a real YOLO training go wrong at night, be stopped, rolled back, strengthened and finished.

    It trains a tiny YOLOv8 on a data set that it draws, with an ordinary script, on the CPU and without a network. From
    epoch 4 on it injects NaN into the training from outside. At the end it checks by itself that everything happened
    as it should; the exit code is 0 only then. Needs the extra: pip install 'trainwarden[ultralytics]'
    """
    from monitor.demo import night
    from monitor.demo.scene import SceneError

    try:
        return night.play_control(keep) if control else night.play(keep)
    except SceneError as error:
        raise Failure(f"demo: {error}", EXIT_CONFIG) from error
