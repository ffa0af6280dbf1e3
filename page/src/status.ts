// A run's state in a word and a colour, and what stands beside it. Pure.

import { count, duration } from "./format";
import type { Glance, Incident, RunSummary, TrainingLine } from "./types";

export type Tone = "good" | "busy" | "warn" | "bad" | "quiet";

export interface Status {
  word: string;
  tone: Tone;
}

const as = (word: string, tone: Tone): Status => ({ word, tone });

const KNOWN: Record<string, Status> = {
  open: as("Incident", "bad"),
  mitigating: as("Repairing", "bad"),
  relapsed: as("Relapsed", "bad"),
  watching: as("Watching", "warn"),
  "given up": as("Given up", "bad"),
  finished: as("Finished", "good"),
  failed: as("Failed", "bad"),
  stopped: as("Stopped", "quiet"),
  held: as("Held", "bad"),
  gone: as("Process gone", "bad"),
  starting: as("Starting", "busy"),
  training: as("Training", "good"),
};

export function statusOf(run: RunSummary): Status {
  if (run.live && run.incident) return incidentStatus(run.incident);
  if (run.live && run.findings.some((one) => one.severity !== "info") && run.state === "training")
    return as("Warning", "warn");
  return KNOWN[run.state] ?? as(capital(run.state), "busy");
}

export function incidentStatus({ state }: Incident): Status {
  const word = state.replaceAll("_", " ");
  return KNOWN[word] ?? as(capital(word), ["resolved", "recovered"].includes(state) ? "good" : "quiet");
}

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const RANK: Record<Tone, number> = { bad: 0, warn: 1, busy: 2, good: 2, quiet: 3 };

/** Trouble first, then what is live, then the newest. */
export function sorted(runs: Iterable<Glance>): Glance[] {
  const key = ({ summary: run }: Glance): number => (run.live ? RANK[statusOf(run).tone] : 4);
  return [...runs].sort((a, b) => key(a) - key(b) || b.summary.opened_s - a.summary.opened_s);
}

/** The one sentence at the top of the first screen. */
export function headline(runs: Glance[]): Status {
  const live = runs.filter((run) => run.summary.live);
  const among = (tone: Tone): number => live.filter((run) => statusOf(run.summary).tone === tone).length;
  const [bad, warn] = [among("bad"), among("warn")];
  const of = (n: number, one: string, many: string): string =>
    live.length === 1 ? `The live run ${one}` : `${n} of ${live.length} live runs ${n === 1 ? one : many}`;
  if (!runs.length) return as("No run yet", "quiet");
  if (bad) return as(of(bad, "needs attention", "need attention"), "bad");
  if (warn) return as(of(warn, "has warnings", "have warnings"), "warn");
  if (!live.length) return as("No run is live", "quiet");
  if (live.some((run) => run.summary.state === "starting")) return as("A run is starting", "busy");
  return as(live.length === 1 ? "The live run is healthy" : `All ${live.length} live runs are healthy`, "good");
}

const outOf = (epoch: number, epochs: number | null): string => (epochs ? `${epoch} / ${epochs}` : `${epoch}`);

export function progress({ summary: run, trainings }: Glance): { text: string; share: number } {
  if (run.epoch === null) return ended(trainings.at(-1));
  const batch = run.batch === null ? "" : `, batch ${count(run.batch)}${run.batches_per_epoch ? ` / ${count(run.batches_per_epoch)}` : ""}`;
  const within = run.batches_per_epoch ? ((run.batch ?? 0) + 1) / run.batches_per_epoch : 0;
  const share = run.epochs ? (run.epoch - 1 + within) / run.epochs : 0;
  return { text: `Epoch ${outOf(run.epoch, run.epochs)}${batch}`, share: Math.min(1, Math.max(0, share)) };
}

/** Of a training that is over the API knows no batch any more: only an epoch that was finished counts. */
function ended(training: TrainingLine | undefined): { text: string; share: number } {
  if (!training?.epoch) return { text: "Before the first batch", share: 0 };
  return { text: `Epoch ${outOf(training.epoch, training.epochs)}`, share: training.epochs ? (training.epoch - (training.state === "finished" ? 0 : 1)) / training.epochs : 0 };
}

export function eta(run: Glance, now_s: number): { text: string; tone: Tone } {
  if (!run.summary.live) {
    const took = run.summary.ended_s === null ? null : run.summary.ended_s - run.summary.opened_s;
    return { text: took === null ? "ended" : `took ${duration(took)}`, tone: "quiet" };
  }
  if (run.eta_s === null) return { text: "time left not known yet", tone: "quiet" };
  const left = `${duration(Math.max(0, run.eta_s - now_s))} left`;
  if (run.deadline_s === null) return { text: left, tone: "quiet" };
  const spare = run.deadline_s - run.eta_s;
  return spare >= 0
    ? { text: `${left}, ${duration(spare)} before the deadline`, tone: "good" }
    : { text: `${left}, ${duration(-spare)} after the deadline`, tone: "bad" };
}
