"""Findings that open no incident: counted, told once a spell, alerted where they are warnings. Pure.

Only a critical finding becomes an incident. The rest is for people: a spell is one detector going on about one rank,
and however long it lasts it is one entry in the report, one line on the terminal and at most one alert.
"""

from __future__ import annotations

from monitor.model import Finding, RaiseAlert, Severity
from monitor.policy import stacks
from monitor.policy.diagnosing import cause_of, diagnosed_again
from monitor.policy.incidents import on_findings as on_critical
from monitor.policy.turn import Turn
from monitor.state.run import RunState, Spell

SPELL_GAP_BATCHES = 300  # as long without a finding ends a spell; detectors may look every 256 batches only
ALERT_GAP_BATCHES = 1000  # no second alert of one detector sooner
FINDINGS_MAX = 200  # of a run, for the report; the counters hold the rest
SPELLS_MAX = 4096
_ORDER = list(Severity)


def on_findings(turn: Turn, findings: list[Finding]) -> None:
    """Take the findings of one input: critical ones make an incident, every one is noted."""
    if not findings:
        return
    last = turn.run.findings[-1:]
    for finding in findings:
        _note(turn, finding)
    on_critical(turn, stacks.acted_on(turn, findings))
    if turn.run.incident is not None:
        diagnosed_again(turn, turn.run.incident, news=turn.run.findings[-1:] != last)


def _note(turn: Turn, finding: Finding) -> None:
    if not _new(turn, finding):
        return
    run = turn.run
    key = f"{finding.detector}/{finding.severity}"
    run.totals.findings[key] = run.totals.findings.get(key, 0) + 1
    run.findings.append(finding)
    del run.findings[:-FINDINGS_MAX]
    if finding.severity is Severity.CRITICAL:
        return  # the incident tells of it
    where = f"epoch {finding.at.epoch} batch {finding.at.batch}"
    turn.say(f"{where}: {finding.summary}", finding.severity)
    if finding.severity is Severity.WARNING:
        _alert(turn, finding, where)


def _new(turn: Turn, finding: Finding) -> bool:
    """True for the first finding of a spell, and for one that is worse than those before it."""
    spells, key, at = turn.run.spells, f"{finding.detector}/{finding.rank}", finding.at
    spell = spells.get(key)
    if spell is None or spell.generation != at.generation or at.count - spell.count > SPELL_GAP_BATCHES:
        if len(spells) >= SPELLS_MAX:
            spells.clear()
        spells[key] = Spell(at.generation, at.count, at.count, finding.severity)
        return True
    spell.count = at.count
    worse = _ORDER.index(finding.severity) > _ORDER.index(spell.severity)
    if worse:
        spell.severity = finding.severity
    return worse


def _alert(turn: Turn, finding: Finding, where: str) -> None:
    run, at = turn.run, finding.at
    generation, count = run.watch_alerts.get(finding.detector, (0, 0))
    if generation == at.generation and at.count - count < ALERT_GAP_BATCHES:
        return
    run.watch_alerts[finding.detector] = (at.generation, at.count)
    about = f"{run.spec.run}/watch/{finding.detector}/{at.generation}/{at.count}"
    title = f"{turn.name}: {finding.summary}"
    since = f"epoch {finding.since.epoch}, batch {finding.since.batch}"
    text = f"Seen at {where}, since {since}. Nothing is done about it: the policy only tells of {finding.detector}."
    if cause := cause_of(turn, finding):
        text = f"{text} {cause}"
    turn.effects.append(RaiseAlert(about, run.spec.run, "watch", finding.severity, "", title, text, turn.now_s))


def going_on(run: RunState) -> list[Finding]:
    """What detectors are saying now: the last finding told of each spell that has not ended, the worst first."""
    if run.ended:
        return []
    told = {f"{finding.detector}/{finding.rank}": finding for finding in run.findings}
    going = [told[key] for key, spell in run.spells.items() if key in told and _lasts(run, spell, told[key])]
    return sorted(going, key=lambda finding: -_ORDER.index(finding.severity))


def _lasts(run: RunState, spell: Spell, finding: Finding) -> bool:
    rank, at = run.ranks.get(finding.rank), finding.at
    if rank is None or spell.generation != run.generation:
        return False
    of_this_spell = at.generation == spell.generation and at.count >= spell.began
    return of_this_spell and rank.counts.batches - spell.count <= SPELL_GAP_BATCHES
