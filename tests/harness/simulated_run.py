"""A run, its supervisor and the daemon's edges, simulated in virtual time around the real core: all but its batches."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.core.detectors import Registered
from monitor.core.drive import RunDriver
from monitor.core.engine import Core
from monitor.core.model import (
    CheckpointExamined,
    Effect,
    Entry,
    ExamineCheckpoint,
    Finding,
    GpuSeen,
    HardwareSeen,
    HostSeen,
    Incident,
    Input,
    Notify,
    Output,
    PlanWritten,
    RaiseAlert,
    SendOrder,
    Tick,
    Verdict,
    VolumeSeen,
    WritePlan,
)
from monitor.core.policy.settings import Policy
from monitor.core.state.run import RunState
from monitor.core.state.signals import Signal
from tests.harness.batch_counts import NO_COUNTS
from trainer_hooks.wire.messages import (
    BatchEnded,
    CheckpointSaved,
    Counts,
    Event,
    Order,
    SettingChanged,
    TrainingStarted,
)
from trainer_hooks.wire.plan import Plan, Settings
from trainer_hooks.wire.run_documents import Manifest, RunSpec

RUN = "night"
START_S = 1_763_424_000.0  # 2025-11-18 00:00 UTC


@dataclass
class SimulatedRun:
    """One run. It is only observed, unless `act` is True."""

    policy: Policy = field(default_factory=Policy)
    batches_per_epoch: int = 1000
    epochs: int = 100
    start_epoch: int = 1
    deadline_s: float | None = None
    act: bool = False
    title: str = ""
    started: bool = True  # False: no generation begins until `train` or `restart` is called
    supervisor_pid: int = 0  # 0: nobody could relaunch it
    framework: str = "plain"
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)  # the user's own
    part_names: tuple[str, ...] = ("box", "seg")
    group_names: tuple[str, ...] = ("all",)
    rates: tuple[float, ...] = (0.1,)  # each group's base rate
    weight_decays: tuple[float, ...] = ()  # each group's
    scaler: bool = False
    goes_back: bool = False  # the integration can go back within its process
    device: str = "cpu"
    keeps_position: bool = False  # its state alone goes back, within its process
    detectors: dict[str, Registered] | None = None  # None: those that are registered
    start_s: float = START_S  # Unix time

    def __post_init__(self) -> None:
        self.entries: list[Entry] = []
        self.effects: list[Effect] = []
        self.messages: list[str] = []  # lines on the run's terminal
        self.alerts: list[RaiseAlert] = []
        self.orders: list[Order] = []  # each once, however often it was sent
        self.plans: dict[str, Plan] = {}  # by file name
        self.manifests: dict[str, Manifest] = {}  # of checkpoints, by digest
        self.verdicts: dict[str, Verdict] = {}  # that the vault gives, by digest
        self.counts: dict[int, Counts] = {}  # by rank
        self.batches_run = 0  # of rank 0, in all generations
        self.gone_back = 0  # batches of this generation that it trains again in its process
        self.in_force: Settings | None = None  # of the plan; None: the user's own
        self.pending: Order | None = None
        self.driver = RunDriver(
            RUN,
            now_s=self.start_s,
            core=Core(detectors=self.detectors),
            supervisor_pid=self.supervisor_pid,
            journal=self.entries.append,
        )
        spec = RunSpec(
            run=RUN, title=self.title, argv=("python", "train.py"), cwd=".", created_s=self.start_s, act=self.act,
            deadline_s=self.deadline_s,
        )  # fmt: skip
        self.driver.open(spec, self.policy.model_dump_json())
        if self.started:
            self.restart()

    # --- what a test looks at ---------------------------------------------------------------------------------------

    @property
    def core(self) -> Core:
        return self.driver.core

    @property
    def run(self) -> RunState:
        return self.driver.state

    @property
    def now_s(self) -> float:
        return self.driver.now_s

    @now_s.setter
    def now_s(self, now_s: float) -> None:
        self.driver.now_s = now_s

    @property
    def generation(self) -> int:
        return self.driver.generation

    @property
    def incident(self) -> Incident:
        """The first one."""
        return self.run.training.ledger.incidents[0]

    @property
    def found(self) -> dict[str, int]:
        """Streaks of findings so far, by "<detector>/<severity>"."""
        return self.run.training.totals.findings

    def findings(self, detector: str) -> list[Finding]:
        return [finding for finding in self.run.training.findings if finding.detector == detector]

    def signal(self, name: str, rank: int = 0) -> Signal:
        return self.run.training.ranks[rank].learned.signals[name]

    def place(self, rank: int = 0, skipped: int = 0) -> tuple[int, int]:
        """Epoch and batch of the next batch, after `skipped` ones whose records are lost."""
        done = self.counts.get(rank, NO_COUNTS).batches + skipped - self.gone_back
        if not self.batches_per_epoch:
            return self.start_epoch, done  # nobody said how many there are
        return self.start_epoch + done // self.batches_per_epoch, done % self.batches_per_epoch

    # --- inputs, and the edges that carry out effects ---------------------------------------------------------------

    def feed(self, given: Input) -> Output:
        """Feed one input, and carry its effects out at once."""
        return self._carried_out(self.driver.feed(given))

    def send(self, record: BatchEnded | Event, rank: int = 0) -> Output:
        """A record of a rank arrives."""
        return self._carried_out(self.driver.send(record, rank))

    def _carried_out(self, output: Output) -> Output:
        for effect in output.effects:
            self.effects.append(effect)
            self._carry_out(effect)
        return output

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Notify():
                self.messages.append(effect.text)
            case RaiseAlert():
                self.alerts.append(effect)
            case ExamineCheckpoint() if manifest := self.manifests.get(effect.digest):
                verdict = self.verdicts[effect.digest]
                path, reasons = f"/vault/{effect.digest}", (f"it is {verdict}",)
                self.feed(CheckpointExamined(RUN, manifest, path, verdict, reasons, 0.05, effect.manifest))
            case WritePlan():
                self.plans[effect.name] = effect.plan
                self.feed(PlanWritten(RUN, effect.plan.id, ""))
            case SendOrder():
                if not self.orders or self.orders[-1].id != effect.order.id:
                    self.orders.append(effect.order)
                self.pending = effect.order

    def tick(self, seconds: float) -> None:
        """Time passes and nothing arrives."""
        self.now_s += seconds
        self.feed(Tick())

    def reload(self) -> None:
        """The daemon is ended and started again: the core is read back from its snapshot."""
        self.driver.reload()

    def hardware(
        self,
        seconds: float = 15.0,
        *,
        host: HostSeen | None = None,
        volumes: tuple[VolumeSeen, ...] = (),
        gpus: tuple[GpuSeen, ...] | None = None,
        nvml: str = "",
    ) -> None:
        """A reading, so many seconds after the last."""
        self.now_s += seconds
        self.feed(HardwareSeen(RUN, host, volumes, gpus, nvml))

    # --- events of the training -------------------------------------------------------------------------------------

    def restart(self, start_epoch: int | None = None, *, plan: str = "", **changed: str) -> None:
        """A new generation: counters begin again. `plan`: the id of the plan it starts from; `changed`: settings."""
        self.start_epoch = start_epoch or self.start_epoch
        self.settings = self.settings | changed
        self.counts, self.pending, self.gone_back = {}, None, 0
        self._carried_out(self.driver.start_generation(pid=1000 + self.generation))
        groups = self.in_force.groups if self.in_force else ()
        self.send(
            TrainingStarted(
                self.now_s, self.framework, self.versions, dict(self.settings), self.part_names, self.group_names,
                tuple(group.base_rate for group in groups) or self.rates, self.epochs, self.start_epoch,
                self.batches_per_epoch, 1, 1, "/runs/night", "/state/runs/night", 1000, self.device, "digest",
                plan_id=plan, scaler_enabled=self.scaler, base_weight_decays=self.weight_decays,
                guarded=not self.keeps_position, goes_back=self.goes_back or self.keeps_position,
                keeps_position=self.keeps_position,
            )
        )  # fmt: skip

    def setting(self, name: str, old: str, new: str, reason: str = "") -> None:
        """A setting changes with the next batch."""
        epoch, batch = self.place()
        self.send(SettingChanged(self.now_s, epoch, batch, name, old, new, reason))

    def checkpoint(
        self, digest: str, verdict: Verdict = Verdict.SOUND, *, epoch: int = 1, size: int = 1000, is_best: bool = False,
        resumed: bool = False, extra_batches: int = 0,
        startable: bool = False,
    ) -> None:  # fmt: skip
        """The trainer has saved (or was `resumed` from it), and the vault examines it; `extra_batches`: a snapshot."""
        counts = self.counts.get(0, NO_COUNTS)
        self.verdicts[digest] = verdict
        self.manifests[digest] = Manifest(
            run=RUN, generation=self.generation, rank=0, ordinal=1, serial=epoch, file=f"{digest}.pt",
            source="/runs/night/weights/last.pt", digest=digest, size=size, epoch=epoch, batches=counts.batches,
            nonfinite_batches=counts.nonfinite_batches, is_best=is_best, saved_s=self.now_s,
            resumed=resumed, extra_batches=extra_batches, startable=startable,
        )  # fmt: skip
        self.send(CheckpointSaved(self.now_s, f"{digest}.json", epoch, digest, extra_batches=extra_batches))
