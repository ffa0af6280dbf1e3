"""`trainwarden demo`: the main job, for real, in about a minute."""

from __future__ import annotations

from pathlib import Path

import click

from monitor.cli.command import Command
from monitor.cli.failure import EXIT_CONFIG, Failure


@click.command(
    cls=Command, examples=("trainwarden demo", "trainwarden demo --keep night", "trainwarden demo --control")
)
@click.option("--keep", metavar="FOLDER", type=click.Path(path_type=Path), help="Keep all files in this new folder.")
@click.option("--control", is_flag=True, help="Run the same training without trainwarden, to compare.")
def demo(keep: Path | None, control: bool) -> int:
    """Watch a real YOLO training go wrong, and see trainwarden stop it, roll it back and finish it.

    The demo trains a tiny YOLOv8 on images that it draws, with an ordinary script, on the CPU, without a network. From
    epoch 4 on it injects NaN into the training from outside. At the end it checks every step; the exit code is 0 only
    if all of them happened. It needs the extra: pip install 'trainwarden[ultralytics]'
    """
    from monitor.demo import night
    from monitor.demo.scene import SceneError

    try:
        return night.play_control(keep) if control else night.play(keep)
    except SceneError as error:
        raise Failure(f"demo: {error}", EXIT_CONFIG) from error
