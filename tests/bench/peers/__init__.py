"""The rules that peers publish, each from its description: no line of their code is here. See each rule's `source`."""

from __future__ import annotations

from tests.bench.detection.rules import RuleFactory
from tests.bench.peers.hangs import DlroverHang, NvrxComputed, NvrxDefault
from tests.bench.peers.kill_loss_spike import KillLossSpike
from tests.bench.peers.marin import MarinLossSpike, MarinSkips
from tests.bench.peers.memory import GpulseLeak, StormlogLeak
from tests.bench.peers.nonfinite import TerminateOnNan, UltralyticsRecovery
from tests.bench.peers.p0_watcher import P0Clip, P0Slow, P0Spike
from tests.bench.peers.pace import Eroica, NvrxStraggler
from tests.bench.peers.packages import Arc, KeepaliveClub, StabilityGuard, TrainPulse
from tests.bench.peers.skip_step import SkipStep, SkipStepFirst
from tests.bench.peers.spikes import ByteRobust, Guarftrain, LightningSpike, MegatronRerun, SpikeScore, ZClip

RULES: tuple[RuleFactory, ...] = (
    TerminateOnNan,
    UltralyticsRecovery,
    KillLossSpike,
    SkipStep,
    SkipStepFirst,
    MarinLossSpike,
    MarinSkips,
    MegatronRerun,
    ByteRobust,
    LightningSpike,
    Guarftrain,
    Arc,
    StabilityGuard,
    KeepaliveClub,
    TrainPulse,
    P0Spike,
    P0Clip,
    P0Slow,
    ZClip,
    SpikeScore,
    Eroica,
    NvrxStraggler,
    NvrxDefault,
    NvrxComputed,
    DlroverHang,
    GpulseLeak,
    StormlogLeak,
)
