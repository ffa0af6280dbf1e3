"""Lays out the demo's folder: data, model, script, fault and policy. An edge file: it writes all of them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template

from trainer_hooks.wire.runfolder import ENV_HOME, SOCKET_PATH_MAX, RunFolder

RUN = "demo-night"
EPOCHS = 8  # as train.py says
CLEAN_EPOCH = 3  # the last one before the fault
FAULT_FROM = 32  # batch of the epoch after it
BATCHES_PER_EPOCH = 80
TRAIN_IMAGES = BATCHES_PER_EPOCH * 4  # train.py's batch size
VAL_IMAGES = 32
TINY_SCALE = "  n: [0.33, 0.125, 256]"  # an eighth of YOLOv8's width: 0.35 million parameters
PARTS = Path(__file__).parent / "parts"  # files that are copied, never imported


class SceneError(Exception):
    """The demo can't be set up. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where everything of one demo lies."""

    folder: Path

    @property
    def script(self) -> Path:
        return self.folder / "train.py"

    @property
    def policy(self) -> Path:
        return self.folder / "night.yaml"

    @property
    def fault(self) -> Path:
        return self.folder / "fault"

    @property
    def passes(self) -> Path:
        """Where the fault writes down each batch that it touched."""
        return self.fault / "passes.csv"

    @property
    def home(self) -> Path:
        """The daemon's state folder, apart from the user's own."""
        return self.folder / "state"

    @property
    def control_socket(self) -> Path:
        return self.home / "run" / "api.sock"

    @property
    def run_folder(self) -> RunFolder:
        return RunFolder(self.home / "runs" / RUN)

    @property
    def training(self) -> Path:
        """What Ultralytics writes."""
        return self.folder / "runs" / "night"

    def environment(self, inherited: dict[str, str]) -> dict[str, str]:
        """The environment of the training: offline, with the fault in its path and a state folder of its own."""
        kept = {name: value for name, value in inherited.items() if not name.startswith("TRAINWARDEN_")}
        paths = [str(self.fault), *filter(None, [inherited.get("PYTHONPATH")])]
        return kept | {
            "PYTHONPATH": os.pathsep.join(paths),
            "YOLO_CONFIG_DIR": str(self.folder / "config"),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            "OMP_NUM_THREADS": "1",  # so small a model gains nothing from more, and the daemon needs the other core
            ENV_HOME: str(self.home),
        }


def lay_out(folder: Path, receiver_url: str) -> Scene:
    """Everything that the demo needs, below `folder`, which must be empty or not there yet.

    Raises:
        SceneError: the folder is in use, or a package that the training needs is not installed.
    """
    ultralytics, matplotlib, _ = installed("ultralytics"), installed("matplotlib"), installed("cv2")
    from monitor.demo.shapes import draw_dataset  # noqa: PLC0415 - imports cv2, which the line above looked for

    if folder.exists() and any(folder.iterdir()):
        raise SceneError(f"{folder}: is not empty, and the demo would mix with what is there; name another folder")
    scene = Scene(folder.resolve())
    if len(os.fsencode(scene.control_socket)) > SOCKET_PATH_MAX:
        raise SceneError(f"{folder}: its path is too long for the sockets that go below it; name a shorter one")
    scene.home.mkdir(parents=True, mode=0o700)
    draw_dataset(scene.folder / "data", TRAIN_IMAGES, VAL_IMAGES)
    (scene.folder / "yolov8n-tiny.yaml").write_text(_tiny_model(ultralytics / "cfg/models/v8/yolov8.yaml"))
    shutil.copy(PARTS / "train.py", scene.script)
    shutil.copytree(PARTS / "fault", scene.fault, ignore=shutil.ignore_patterns("__pycache__"))
    template = Template(Path(__file__).with_name("night.yaml").read_text())
    scene.policy.write_text(template.substitute(receiver_url=receiver_url))
    _put_font(matplotlib, scene.folder / "config" / "Ultralytics")
    return scene


def installed(package: str) -> Path:
    """The folder of an installed package, which is not imported. Raises SceneError where it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SceneError(
            f"the demo trains a real YOLO and {package} is not installed; run: pip install 'trainwarden[ultralytics]'"
        )
    return Path(spec.origin).parent


def _tiny_model(source: Path) -> str:
    """The text of Ultralytics' own yolov8.yaml, with its smallest scale made smaller still."""
    text, replaced = re.subn(r"^  n: \[[^\]]*\]", TINY_SCALE, source.read_text(), count=1, flags=re.MULTILINE)
    if not replaced:
        raise SceneError(f"{source}: has no scale 'n' to shrink; install an ultralytics from 8.3.213 on")
    return text


def _put_font(matplotlib: Path, config: Path) -> None:
    """Ultralytics downloads Arial unless a font of that name is there; matplotlib brings one that will do."""
    config.mkdir(parents=True)
    shutil.copy(matplotlib / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", config / "Arial.ttf")
