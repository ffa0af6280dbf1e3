"""A signal, a message and an effect are three files each, a receiver of alerts one: they are made in a copy, and used.

The file of a receiver is the notifier that CONTRIBUTING.md shows.
"""

from __future__ import annotations

import json
import shutil
from typing import NamedTuple

import pytest

from tests.architecture.test_what_a_change_costs import PACKAGES, ROOT, change, run, shown

pytest.importorskip("torch")

WIRE = "trainer_hooks/wire/messages.py"
BATCHES = "monitor/core/state/batches.py"
EVENTS = "monitor/core/state/events.py"
EFFECTS = "monitor/core/model/effects.py"
POLICY = "monitor/core/policy/incidents.py"
CARRY_OUT = "monitor/daemon/carry_out.py"
LOOP = "trainer_hooks/integrations/plain/loop.py"

[NOTIFIER] = [example for example in shown() if example[0].startswith("alerts/notifiers/")]


class Edit(NamedTuple):
    """`code` goes in before `anchor`, which stands in the file once."""

    path: str
    anchor: str
    code: str


SIGNAL = (
    Edit(WIRE, "\n\nclass TrainingStarted(", "    spread: float | None = None  # of the parts of the loss\n"),
    Edit(
        "trainer_hooks/recorder/batch.py",
        "    )\n\n\ndef _gradient(",
        "        spread=max(assessed.parts) - min(assessed.parts) if assessed.parts else None,\n",
    ),
    Edit(BATCHES, '"loss", "grad_norm", "batch_s"', '"spread", '),
    Edit(BATCHES, '    observe(signals["grad_norm"]', '    observe(signals["spread"], batch.spread)\n'),
)
MESSAGE = (
    Edit(
        WIRE,
        "Event = (\n",
        'class MoodSeen(msgspec.Struct, frozen=True, array_like=True, tag=99):\n    """How it goes."""\n\n'
        "    wall_s: float\n    mood: str\n\n\n",
    ),
    Edit(WIRE, "    | StacksSeen\n)", "    | MoodSeen\n"),
    Edit(LOOP, "from trainer_hooks.wire.messages import Order\n", "from trainer_hooks.wire.messages import MoodSeen\n"),
    Edit(
        LOOP,
        "    def end(self)",
        "    def mood(self, mood: str) -> None:\n        if self._recorder is not None:\n"
        '            self._fail_open.run("mood", self._recorder.probe.event, MoodSeen(time.time(), mood))\n\n',
    ),
    Edit(EVENTS, "    NonfiniteSeen,\n", "    MoodSeen,\n"),
    Edit(EVENTS, "        case _:\n", "        case MoodSeen():\n            training.how = event.mood\n"),
)
EFFECT = (
    Edit(
        EFFECTS,
        "Effect = (\n",
        'class RingBell(msgspec.Struct, frozen=True, tag="ring_bell"):\n    """Make a sound."""\n\n'
        "    id: str\n    run: str\n\n\n",
    ),
    Edit(EFFECTS, "    | KeepState\n)", "    | RingBell\n"),
    Edit(POLICY, "from monitor.core.model import (\n", "from monitor.core.model.effects import RingBell\n"),
    Edit(POLICY, "\n\ndef decide(", "    tx.effects.append(RingBell(tx.effect_id(), tx.run.spec.run))\n"),
    Edit(CARRY_OUT, "from monitor.core.model import (\n", "from monitor.core.model.effects import RingBell\n"),
    Edit(
        CARRY_OUT,
        "                case EndTraining():",
        "                case RingBell():\n"
        '                    await off_loop((run_folder(effect.run).root / "bell").touch)\n',
    ),
)
USED = """
import asyncio, json, sys, types
from pathlib import Path
import msgspec, torch
from pytest_httpserver import HTTPServer
from alerts.http import Http
from alerts.notifiers import load_all
from monitor.cli.tune_output import policy_text
from monitor.daemon.receivers import Receivers
from monitor.policyfile.load import policy_from_text
from tests.harness.alerts import alert
from tests.unit.monitor.tuning.test_search import runs, searched
from monitor.core.model import Effect
from monitor.daemon.carry_out import Effects
from tests.bounds.test_core_bounds import driven
from tests.harness.recorder import RecordingProbe
from trainer_hooks.integrations.plain import watch
from trainer_hooks.wire.codec import decode_frame, encode
from trainer_hooks.wire.messages import PROTOCOL, EventSent, Frame, Sender
from trainer_hooks.wire.runfolder import run_folder

probe, model = RecordingProbe(Path(sys.argv[1])), torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loop = watch(model, optimizer, epochs=1, batches_per_epoch=9, part_names=("a", "b"), connect=lambda _: probe)
for _ in range(9):
    optimizer.step()
    loop.batch(4.0, epoch=1, parts=(1.0, 3.0))
loop.mood("calm")

records = [*probe.batches, EventSent(1, probe.events[-1])]
driver, rung = driven(), []
for record in decode_frame(encode(Frame(PROTOCOL, Sender("r", 1, 0, "n1"), 0, tuple(records)))).records:
    driver.send(record.body if isinstance(record, EventSent) else record)
training = driver.state.training
signal, mood = training.ranks[0].learned.signals["spread"], training.how
bad = probe.batches[-1]
for number in range(10, 20):
    counts = msgspec.structs.replace(bad.counts, batches=number, nonfinite_batches=number - 9)
    rung += driver.send(msgspec.structs.replace(bad, counts=counts, nonfinite=1)).effects
rung = [effect for effect in rung if type(effect).__name__ == "RingBell"]
kept = msgspec.msgpack.decode(msgspec.msgpack.encode(rung), type=list[Effect])

async def carried_out():
    run_folder("r").root.mkdir(parents=True)
    finished = []
    effects = Effects(lambda: driver.core.fleet, None, None, finished.append, None, None)
    effects.start(kept[0])
    await effects.settle(5.0)
    return finished == rung and (run_folder("r").root / "bell").exists()

with HTTPServer(port=0) as server:
    server.expect_request("/a-secret").respond_with_data(status=204)
    address = server.url_for("/a-secret")
    policy = policy_from_text("version: 1\\nreceivers: [{name: ops, kind: plain_text, url: '%s'}]" % address, "p.yaml")
    receivers = Receivers()
    receivers.learn("r", policy)

    async def delivered():
        row = types.SimpleNamespace(lane="r", receiver="ops")
        receiver = receivers.of(row)
        async with Http() as http:
            return await load_all()[receiver.kind].notify(alert("a1"), receiver.config, http, 0.0)

    sent = asyncio.run(delivered())
    posted = [request.path for request, _ in server.log]

print(json.dumps({"sent": [sent.outcome, *posted],
                  "in_tuned_policy": "receivers:" in policy_text(searched(runs()), policy),
                  "spread": [signal.seen, signal.last], "mood": mood, "rung": len(rung),
                  "carried_out": asyncio.run(carried_out())}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a copy of the code answers in which all of them were added."""
    root = tmp_path_factory.mktemp("changed")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", root)
    change(root, *NOTIFIER)
    for path, anchor, code in (*SIGNAL, *MESSAGE, *EFFECT):
        text = (root / path).read_text()
        assert text.count(anchor) == 1, f"{path}: {anchor!r} is not there once: say where it is now"
        (root / path).write_text(text.replace(anchor, code + anchor))
    home = tmp_path_factory.mktemp("home")
    script = f"import os; os.environ['TRAINWARDEN_HOME'] = {str(home)!r}\n{USED}"
    return dict(json.loads(run(root, "-c", script, str(home))))


def files_of(edits: tuple[Edit, ...]) -> list[str]:
    return sorted({edit.path for edit in edits})


def test_a_signal_is_three_files(answers: dict[str, object]) -> None:
    assert files_of(SIGNAL) == [BATCHES, "trainer_hooks/recorder/batch.py", WIRE]
    assert answers["spread"] == [9, 2.0]


def test_a_message_from_trainer_to_daemon_is_three_files(answers: dict[str, object]) -> None:
    assert files_of(MESSAGE) == [EVENTS, LOOP, WIRE]
    assert answers["mood"] == "calm"


def test_an_effect_is_three_files(answers: dict[str, object]) -> None:
    assert files_of(EFFECT) == [EFFECTS, POLICY, CARRY_OUT]
    assert answers["rung"] == 1
    assert answers["carried_out"] is True


def test_a_receiver_of_alerts_is_one_file(answers: dict[str, object]) -> None:
    assert NOTIFIER[0] == "alerts/notifiers/plain_text.py"
    assert answers["sent"] == ["ok", "/a-secret"]
    assert answers["in_tuned_policy"] is False
