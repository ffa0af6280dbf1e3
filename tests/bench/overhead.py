"""What the hooks add to an Ultralytics training: per batch, probe and guard apart, and over whole trainings.

    python -m tests.bench.overhead --device cpu --model tiny --batches 400 --pairs 3 --daemon absent

The per-batch part times our own calls inside a real training. The whole part runs trainings with and without hooks in
turn and compares the medians of their batch times. On a shared machine two trainings in a row differ by more than any
hook costs: see tests.bench.added. `--daemon` puts a daemon of its own into that state: healthy, stopped (SIGSTOP), or
absent.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import _trainwarden

GUARD_CALLS = ("enter", "leave", "settle", "measures", "resolve", "take")
JUDGE_CALLS = ("found", "admits")
METER = "meter"  # what timing one call that does nothing reads
WARM_BATCHES = 20  # not counted: caches, first backups, the allocator


class Meter:
    """Seconds by part, batch by batch; a call within another counts for its own part only."""

    def __init__(self) -> None:
        self.batches: dict[str, list[float]] = {"probe": [], "guard": [], METER: []}
        self.by_call: dict[tuple[str, str], list[float]] = {}  # by part and call: where a part's time goes
        self.calls = 0  # timed so far
        self._now: dict[tuple[str, str], float] = {}
        self._stack: list[tuple[str, str]] = []
        self._mark_s = 0.0

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""
        key = (part, call.__name__)

        def run(*args: Any, **options: Any) -> Any:
            self.calls += 1
            self._charge()
            self._stack.append(key)
            try:
                return call(*args, **options)
            finally:
                self._charge()
                self._stack.pop()

        return run

    def end_batch(self) -> None:
        """What was spent since the last call is one batch."""
        for part, batches in self.batches.items():
            batches.append(sum(spent_s for (of, _), spent_s in self._now.items() if of == part))
        for key, spent_s in self._now.items():
            self.by_call.setdefault(key, []).append(spent_s)
        self._now = dict.fromkeys(self._now, 0.0)

    def _charge(self) -> None:
        now_s = time.perf_counter()
        if self._stack:
            self._now[self._stack[-1]] = self._now.get(self._stack[-1], 0.0) + now_s - self._mark_s
        self._mark_s = now_s


def instrument(meter: Meter, trainer: Any) -> None:
    """Put the meter around the calls of the session that trains `trainer`."""
    from trainer_hooks.integrations.ultralytics import attachment, signals

    session = attachment._sessions[id(trainer)]
    loop = session.loop
    assert loop is not None
    for name in GUARD_CALLS:
        setattr(loop.guard, name, meter.timed("guard", getattr(loop.guard, name)))
    for name in JUDGE_CALLS:
        setattr(loop.guard._judge, name, meter.timed("guard", getattr(loop.guard._judge, name)))
    for owner, name in (
        (loop, "batch_began"), (loop.recorder.groups, "read"), (session, "on_train_batch_end")
    ):  # fmt: skip
        setattr(owner, name, meter.timed("probe", getattr(owner, name)))
    for name in ("contents_before", "contents_after"):
        setattr(signals, name, meter.timed("probe", getattr(signals, name)))


class Edges:
    """Seconds of each batch within our code, read only where a training enters and leaves it: nothing is left out."""

    def __init__(self) -> None:
        self.batches: list[float] = []
        self.beside: list[float] = []  # CPU seconds of the sender's thread, in all, at each batch
        self._spent_s = 0.0

    def on_train_batch_start(self, trainer: Any) -> None:
        """What was spent since the last call is one batch. After a few, every hook is in its place."""
        self.batches.append(self._spent_s)
        self._spent_s = 0.0
        self.beside.append(cpu_s("trainwarden-sender"))
        if len(self.batches) == WARM_BATCHES // 2:
            self._instrument(trainer)

    def _instrument(self, trainer: Any) -> None:
        """Put the clock around the hooks of the session that trains `trainer`."""
        import torch

        from trainer_hooks import steps
        from trainer_hooks.guard import clipping
        from trainer_hooks.integrations.ultralytics import attachment

        for event in ("on_train_batch_start", "on_train_batch_end"):
            trainer.callbacks[event] = [
                self._ours(each) if isinstance(each, attachment.Callback) else each for each in trainer.callbacks[event]
            ]
        for owner, name in ((trainer, "optimizer_step"), (trainer, "preprocess_batch"), (trainer.ema, "update")):
            hook = vars(owner)[name]
            *given, original = hook.args
            setattr(owner, name, self._ours(functools.partial(hook.func, *given, self._theirs(original))))
        half = getattr(torch.nn.utils.clip_grad, clipping.HALF).__wrapped__
        setattr(torch.nn.utils.clip_grad, clipping.HALF, self._ours(clipping._second_half(self._theirs(half))))
        watched = steps.watched_step(trainer.optimizer)
        run = watched.run
        watched.run = self._ours(lambda optimizer, step, *rest: run(optimizer, self._theirs(step), *rest))  # type: ignore[method-assign]

    def _ours(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return self._charged(call, 1.0)

    def _theirs(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return self._charged(call, -1.0)

    def _charged(self, call: Callable[..., Any], sign: float) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self._spent_s += sign * (time.perf_counter() - began_s)

        return run


def cpu_s(thread: str) -> float:
    """CPU seconds of the threads of this name so far."""
    found = [each.ident for each in threading.enumerate() if each.name == thread and each.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in found)


class Again:
    """Makes calls that change nothing a second time, at once: what the first one costs more is memory gone cold."""

    def __init__(self) -> None:
        self.pairs: dict[str, list[tuple[float, float]]] = {}

    def instrument(self, trainer: Any) -> None:
        """Put it around some calls of the session that trains `trainer`."""
        from trainer_hooks.integrations.ultralytics import attachment, signals

        loop = attachment._sessions[id(trainer)].loop
        assert loop is not None
        places: tuple[tuple[Any, str], ...] = (
            (loop.recorder.groups, "read"), (signals, "contents_after"), (loop._changes, "changes"),
            (loop.recorder, "pending"),
        )  # fmt: skip
        for owner, name in places:
            setattr(owner, name, self._twice(name, getattr(owner, name)))

    def _twice(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            began_s = time.perf_counter()
            found = call(*args, **options)
            first_s = time.perf_counter()
            call(*args, **options)
            again_s = time.perf_counter()
            self.pairs.setdefault(name, []).append((first_s - began_s, again_s - first_s))
            return found

        return run

    def rows(self) -> list[tuple[str, str, str]]:
        """The medians of each call: the first time, and at once again."""
        found = []
        for name, pairs in self.pairs.items():
            first_us, again_us = (statistics.median(p[place] for p in pairs[WARM_BATCHES:]) * 1e6 for place in (0, 1))
            found.append((f"  {name}: first, at once again", f"{first_us:8.1f} us", f"{again_us:8.1f} us"))
        return found


def end_batch(meter: Meter) -> None:
    """Close the batch's account, and time a call that does nothing: the meter's own share of each call."""
    meter.end_batch()
    meter.timed(METER, lambda: None)()


def less_the_meter(meter: Meter) -> tuple[str, str, str]:
    """Probe and guard together, without what timing their calls costs: a call that does nothing, once for each call."""
    (one_us, _), calls = quantiles_us(meter.batches[METER][WARM_BATCHES:]), meter.calls / len(meter.batches[METER]) - 1
    both = [probe + guard for probe, guard in zip(meter.batches["probe"], meter.batches["guard"], strict=True)]
    median_us, p99_us = quantiles_us(both[WARM_BATCHES:])
    return (
        "probe and guard, less the meter",
        f"{median_us - calls * one_us:8.1f} us",
        f"{p99_us - calls * one_us:8.1f} us",
    )


def train(arguments: dict[str, Any], model: str, callbacks: dict[str, Callable[[Any], None]]) -> list[float]:
    """Run a training; seconds of each of its batches, loader and step together."""
    from ultralytics import YOLO

    seconds: list[float] = []
    mark_s = [0.0]

    def began(_: Any) -> None:
        mark_s[0] = time.perf_counter()

    def ended(_: Any) -> None:
        now_s = time.perf_counter()
        seconds.append(now_s - mark_s[0])
        mark_s[0] = now_s

    yolo = YOLO(model)
    yolo.add_callback("on_train_epoch_start", began)
    for event, callback in callbacks.items():
        yolo.add_callback(event, callback)
    yolo.add_callback("on_train_batch_start", ended)
    yolo.train(**arguments)
    return seconds[WARM_BATCHES:]


def quantiles_us(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in microseconds."""
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e6, ordered[int(len(ordered) * 0.99)] * 1e6


def prepare(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Arguments and model of the trainings to measure."""
    from tests.harness.yolo import BATCH, go_offline, make_lab

    go_offline(folder / "config")
    lab = make_lab(folder, images=40 * BATCH)
    arguments = lab.arguments(
        folder / "runs",
        epochs=max(2, -(-options.batches // lab.batches)),
        imgsz=options.image_size,
        device=options.device,
        val=False,
        save=False,
    )
    return arguments, str(lab.model) if options.model == "tiny" else options.model


@contextlib.contextmanager
def daemon(state: str) -> Iterator[None]:
    """A daemon of the present TRAINWARDEN_HOME, in that state until the block ends."""
    if state == "absent":
        yield
        return
    from trainer_hooks.wire.runfolder import records_socket

    process = subprocess.Popen(_trainwarden.child_command("monitor", "serve", "--detached", "--port", "0"))
    try:
        while not records_socket().exists():
            if process.poll() is not None:
                raise SystemExit(f"the daemon ended with {process.returncode} instead of starting")
            time.sleep(0.05)
        if state == "stopped":
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        process.kill()
        process.wait()


def measure(folder: Path, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Rows of the table."""
    import ultralytics.engine.trainer as trainer_module

    from trainer_hooks.integrations.ultralytics import attach, detach

    arguments, model = prepare(folder, options)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    ratios, batch_s = [], []
    for number in range(options.pairs):
        medians = {}
        for hooked in (False, True) if number % 2 == 0 else (True, False):  # the machine slows down, or speeds up
            detach(trainer_module)
            if hooked:
                attach(trainer_module, guard=options.guard == "on")
            medians[hooked] = statistics.median(train(arguments, model, {}))
        ratios.append(medians[True] / medians[False])
        batch_s.append(medians[False])
    attach(trainer_module, guard=options.guard == "on")
    meter = Meter()
    callbacks = {
        "on_train_start": lambda trainer: instrument(meter, trainer),
        "on_train_batch_start": lambda _: end_batch(meter),
    }
    train(arguments, model, callbacks)
    rows = [less_the_meter(meter)]
    for part, seconds in meter.batches.items():
        median_us, p99_us = quantiles_us(seconds[WARM_BATCHES:])
        rows.append((f"{part}, per batch", f"{median_us:8.1f} us", f"{p99_us:8.1f} us"))
    for (part, call), seconds in meter.by_call.items():
        if part != METER:
            median_us, p99_us = quantiles_us(seconds[WARM_BATCHES:])
            rows.append((f"  {part}: {call}", f"{median_us:8.1f} us", f"{p99_us:8.1f} us"))
    rows.append(("calls timed in a batch", f"{meter.calls / len(meter.batches[METER]):8.1f}", ""))
    again = Again()
    train(arguments, model, {"on_train_start": again.instrument})
    rows += again.rows()
    edges = Edges()
    train(arguments, model, {"on_train_batch_start": edges.on_train_batch_start})
    median_us, p99_us = quantiles_us(edges.batches[WARM_BATCHES:])
    rows.append(("all of our code, by its edges", f"{median_us:8.1f} us", f"{p99_us:8.1f} us"))
    first, *_, last = edges.beside[WARM_BATCHES:]
    beside_us = (last - first) / (len(edges.beside) - WARM_BATCHES - 1) * 1e6
    rows.append(("beside it: CPU of the sender's thread", f"{beside_us:8.1f} us", "mean"))
    whole = statistics.median(ratios)
    spread = ", ".join(f"{(ratio - 1) * 100:+.2f} %" for ratio in ratios)
    rows.append(("a batch without hooks", f"{statistics.median(batch_s) * 1e3:8.2f} ms", ""))
    rows.append(("whole training, with / without", f"{(whole - 1) * 100:+8.2f} %", spread))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table. None: the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="tiny", help="tiny, or any model YAML of Ultralytics")
    parser.add_argument("--batches", type=int, default=400, help="of each training")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--guard", default="on", choices=["on", "off"])
    parser.add_argument("--daemon", default="absent", choices=["healthy", "stopped", "absent"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        os.environ["TRAINWARDEN_HOME"] = str(Path(folder) / "home")
        with daemon(options.daemon):
            rows = measure(Path(folder), options)
    print(f"\nmodel {options.model}, {options.device}, daemon {options.daemon}, guard {options.guard}")
    print(f"{'':38}{'median':>12}  {'p99 / each pair':>14}")
    for name, middle, rest in rows:
        print(f"{name:38}{middle:>12}  {rest:>14}")


if __name__ == "__main__":
    main()
