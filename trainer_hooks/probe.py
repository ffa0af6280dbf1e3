"""What an integration talks to: the training thread's side of everything that leaves the process. One a training."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from trainer_hooks.counts_keeper import CountsKeeper
from trainer_hooks.crash import describe_exception
from trainer_hooks.hang_dump import Heartbeat, arm
from trainer_hooks.identity import Identity
from trainer_hooks.orders import OrderInbox
from trainer_hooks.outbox import Batch, Outbox, Packer
from trainer_hooks.sanitize import fit
from trainer_hooks.sender import SenderThread
from trainer_hooks.spool import Save, SnapshotRequest, Spool, request_of
from trainer_hooks.trainings import ClaimedTraining, TrainingName, begin_as_rank, begin_training, call_site
from trainer_hooks.wire import document_io, runfolder
from trainer_hooks.wire.eventfile import EventFile, events_path
from trainer_hooks.wire.messages import Event, HookTrouble, Order, OrderApplied, SettingChanged, TrainingEnded
from trainer_hooks.wire.plan import Receipt
from trainer_hooks.wire.words import TrainingEnd

CLOSE_S = 5.0  # for all that is left to do when a process ends
SPOOL_SHARE = 0.6  # of the time given to close: a copy on disk is worth more than records on their way
HERE = 0  # as epoch of a SettingChanged: where the rank is when the event comes
BOUNDARY = "boundary"
END_KEPT_S = 0.25  # for the end of a training to be on disk: its process may end at once, by os._exit
UNCONNECTED_FLUSH_S = 0.2  # with no daemon to acknowledge anything, the events file has it all


class Probe:
    """Sends records and events, brings orders. One for each training; in a forked child, its parent's does nothing."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._silent = False
        self._troubles = 0
        self._outbox = Outbox()
        self._packer = Packer(identity.sender())
        self._inbox = OrderInbox(identity.sender())
        self._events = EventFile(events_path(identity.folder, identity.generation, identity.rank, identity.training))
        self._spool = Spool(identity, self.event)
        self._keeper = CountsKeeper(identity.folder, identity.sender())
        self._sender = self._new_sender()
        self._sender.start()

    @property
    def hook_errors(self) -> int:
        """Errors reported by event, what could not be sent or kept in the events file, errors of the sender thread."""
        unsent = self._packer.unsendable + self._outbox.unmade + self._outbox.events_refused + self._events.left_out
        return self._troubles + unsent + self._sender.errors

    @property
    def dropped(self) -> int:
        """Records that fell out of the ring because nobody took them in time."""
        return self._outbox.dropped

    @property
    def silent(self) -> bool:
        """True in a forked child: what the parent has to say is not ours to say."""
        return self._silent

    @property
    def closed(self) -> bool:
        """True between `close` and the next `connect`, and after `retire` once everything is sent."""
        return self._sender.stopped

    def batch(self, record: Batch, urgent: bool = False) -> None:
        """The step path: one append. `urgent` (a non-finite batch) also wakes the sender, so that it leaves at once.

        A record may be given as a function that makes it: the sender's thread calls it, so that the training does not
        wait. What it holds stays in memory until then, up to RING_RECORDS of them: no tensor of a device, no graph.
        """
        if self._silent:
            return
        self._outbox.batch(record)
        if urgent:
            self._sender.wake()

    def event(self, body: Event) -> None:
        """Send what must arrive: again and again until it is acknowledged, and meanwhile kept in the run folder."""
        if self._silent:
            return
        if isinstance(body, HookTrouble):
            self._troubles += 1
        if isinstance(body, TrainingEnded):
            self._keeper.ended(body)
        self._outbox.event(fit(body))
        self._sender.wake()

    def order(self) -> Order | None:
        """The next order for this rank that nobody took yet. Cheap when there is none."""
        waiting = self._inbox.waiting
        return waiting.popleft() if waiting else None

    def settle(
        self, order: Order, outcome: str, detail: str, epoch: int, batch: int, read_back: dict[str, str]
    ) -> None:
        """Leave the receipt that outlives this process, then inform the daemon.

        Raises OSError where the receipt can't be written; then nothing was sent, and the caller decides.
        """
        if self._silent:
            return
        generation, now_s = self.identity.generation, time.time()
        receipt = Receipt(
            order=order.id,
            generation=generation,
            outcome=outcome,
            detail=detail,
            epoch=epoch,
            batch=batch,
            read_back=read_back,
            written_s=now_s,
            training=self.identity.training,
        )
        document_io.write(self.identity.folder.receipt(order.id), receipt)
        self.event(OrderApplied(now_s, order.id, outcome, detail, epoch, batch, read_back))

    def checkpoint(self, source: Path, save: Save) -> None:
        """Have the file copied as it is now; a CheckpointSaved follows. Call it before the trainer writes again.

        Raises OSError where `source` is missing or a symbolic link.
        """
        if self._silent:
            return
        self._spool.offer(request_of(source, save))

    def snapshot(self, request: SnapshotRequest) -> None:
        """Have a state that lies in host memory written to a file; a CheckpointSaved follows."""
        if not self._silent:
            self._spool.offer(request)

    def copied(self, timeout_s: float) -> bool:
        """True: every checkpoint handed over is copied. Waits no longer than `timeout_s`; for when training is over."""
        return self._silent or self._spool.settle(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """True: everything is sent and every event acknowledged. Waits no longer than `timeout_s`."""
        return self._silent or self._sender.flush(timeout_s)

    def process_ends(self, how: str, detail: str) -> None:
        """Report the end of a training whose process ends, unless it has reported it itself."""
        if not (self._silent or self.closed or self._keeper.has_ended):
            self.event(TrainingEnded(time.time(), how, detail, 0, {}))

    def retire(self) -> None:
        """The training is over: end the threads as soon as all has been sent. Its end is on disk then."""
        if not self._silent and not self.closed:
            self._sender.retire(self._spool.finish_if_idle)
            self._keeper.wait_for_end(END_KEPT_S)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Finish the copies and the sending, both within the time, and end the threads. `connect` opens it again."""
        if self._silent or self.closed:
            return
        deadline_s = time.monotonic() + timeout_s
        self._spool.finish(SPOOL_SHARE * timeout_s)
        left_s = max(0.0, deadline_s - time.monotonic())
        self._sender.flush(left_s if self._sender.connected else min(left_s, UNCONNECTED_FLUSH_S))
        self._sender.stop(max(UNCONNECTED_FLUSH_S, deadline_s - time.monotonic()))

    def _new_sender(self) -> SenderThread:
        return SenderThread(
            _address,
            self._outbox,
            self._packer,
            self._inbox,
            self._events,
            light=self._offer_hang_dump,
            copies_lost=lambda: self._spool.displaced + self._spool.evicted,
            keeper=self._keeper,
            complain=not self.identity.supervised and self.identity.rank == 0,
        )

    def _offer_hang_dump(self) -> Heartbeat:
        return arm(self.identity.folder.hang_dump(self.identity.generation, self.identity.rank, self.identity.training))

    def reopen(self) -> None:
        """Go on where `close` stopped. Events keep counting: a daemon knows a generation's events by their numbers."""
        self._sender = self._new_sender()
        self._sender.start()

    def silence(self) -> None:
        """This is a forked child: the threads are gone."""
        self._silent = True
        self._inbox = OrderInbox(self.identity.sender())


def _address() -> str:
    return f"ipc://{runfolder.records_socket()}"


_probes: list[Probe] = []  # of the trainings of this process that are not closed, the last one last
_watching_process = False


def open_probe(training: ClaimedTraining) -> Probe:
    """The probe of a training that begins now. Its identity must not have had one before."""
    _watch_process()
    _watch_end_of_child()
    probe = Probe(training.identity)
    _probes[:] = [each for each in _probes if not each.closed and not each.silent]
    _probes.append(probe)
    if training.trouble:
        probe.event(HookTrouble(time.time(), "training number", training.trouble, switched_off=False))
    return probe


def open_training(name: TrainingName) -> Probe:
    """The probe of a training that begins now, at train() or watch(). Raises what `identify` raises."""
    return open_probe(begin_training(name))


def connect(rank: int = 0) -> Probe:
    """The probe of the training that began last here; the first call in a process begins one.

    For scripts that send their records themselves and know their rank. Raises what `identify` raises.
    """
    if not _probes:
        return open_probe(begin_as_rank(rank, TrainingName(call_site())))
    if _probes[-1].closed and not _probes[-1].silent:
        _probes[-1].reopen()
    return _probes[-1]


def boundary(what: str) -> bool:
    """Say that the batches are of another kind from here on, such as `boundary("stage 2: long sequences")`.

    Levels of loss, norm and time may then differ without an alarm. True: sent; False: nothing watches this process, and
    it does nothing. Call it from the training's own code, between two batches, on any rank.
    """
    watching = [probe for probe in _probes if not probe.closed]
    for probe in watching:
        probe.event(SettingChanged(time.time(), HERE, HERE, BOUNDARY, "", what, "declared"))
    return bool(watching)


def watches_process() -> bool:
    """True once a training of this process was watched."""
    return _watching_process


def _watch_process() -> None:
    global _watching_process  # noqa: PLW0603 - both hooks belong to the process, and can't be taken off again
    if not _watching_process:
        _watching_process = True
        atexit.register(_close_at_exit)
        os.register_at_fork(after_in_child=_silence_in_child)
        _watch_exceptions()


def _watch_end_of_child() -> None:
    """A child of `multiprocessing` that was forked runs its own finalizers at its end, and none of atexit."""
    processes, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if processes is not None and util is not None and processes.parent_process() is not None:
        util.Finalize(None, _close_at_exit, exitpriority=0)


def _watch_exceptions() -> None:
    """Report an exception that nobody catches, then leave it to the hook that was there: it prints the traceback."""
    previous = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        with contextlib.suppress(Exception):  # the user's traceback is worth more than our report of it
            _report(error)
        previous(kind, error, trace)

    sys.excepthook = excepthook


def _report(error: BaseException) -> None:
    how = TrainingEnd.INTERRUPTED if isinstance(error, KeyboardInterrupt) else TrainingEnd.EXCEPTION
    for probe in _probes:
        probe.process_ends(how, describe_exception(error))


def _uncaught() -> BaseException | None:
    """The exception that ends this process, as Python keeps it: a hook that the script set later may not call ours.

    None: there is none, or a person types here, and then it may be an old one.
    """
    typed = hasattr(sys, "ps1") or sys.flags.interactive or "IPython" in sys.modules
    error = None if typed else getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None


def _silence_in_child() -> None:
    for probe in _probes:
        probe.silence()


def _close_at_exit() -> None:
    deadline_s = time.monotonic() + CLOSE_S
    if (error := _uncaught()) is not None:
        with contextlib.suppress(Exception):
            _report(error)
    for probe in _probes:
        probe.process_ends(TrainingEnd.EXITED, "")
        probe.close(max(UNCONNECTED_FLUSH_S, deadline_s - time.monotonic()))
