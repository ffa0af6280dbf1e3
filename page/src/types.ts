// What the API answers, as far as the page reads it. Times are Unix seconds; null: not known.

export interface Incident {
  id: string;
  number: number;
  family: string;
  severity: string;
  state: string;
  live: boolean;
  opened_s: number;
  closed_s: number | null;
  onset_epoch: number;
  onset_batch: number;
  action: string;
  attempts: number;
  batches_discarded: number;
  watch_seen: number;
  watch_needed: number;
  outcome: string;
}

export interface Finding {
  detector: string;
  severity: string;
  summary: string;
}

export interface RunSummary {
  run: string;
  title: string;
  state: string;
  live: boolean;
  act: boolean;
  supervised: boolean;
  generation: number;
  epoch: number | null;
  epochs: number | null;
  batch: number | null;
  batches_per_epoch: number | null;
  batches: number;
  nonfinite: number;
  skipped: number;
  opened_s: number;
  ended_s: number | null;
  last_batch_s: number | null;
  incident: Incident | null;
  findings: Finding[];
}

export interface TrainingLine {
  number: number;
  state: string;
  generation: number;
  epoch: number | null;
  epochs: number | null;
  batches: number;
  nonfinite: number;
  incidents: number;
}

export interface Glance {
  summary: RunSummary;
  trainings: TrainingLine[];
  training: number;
  framework: string;
  loss: number | null;
  reserved: number | null;
  pace_s: number | null;
  eta_s: number | null;
  deadline_s: number | null;
  deadline_kept: boolean | null;
}

export interface RunDetail {
  detail: string;
  device: string;
  save_dir: string;
  incidents: number; // of the run; the newest has this number
  rollbacks: number;
  rollback_budget: number;
  in_short: [string, string][];
}

export interface Checkpoint {
  epoch: number;
  extra_batches: number; // of the epoch after `epoch`; above 0: a snapshot
  generation: number;
  training: number;
  batches: number;
  verdict: string;
  why: string;
  saved_s: number;
  size: number;
  path: string;
  is_best: boolean;
  dropped: boolean;
}

export interface TimelineLine {
  n: number;
  run: string;
  at_s: number;
  severity: string;
  text: string;
}

export interface Columns {
  mean: (number | null)[];
  low: (number | null)[] | null;
  high: (number | null)[] | null;
}

export interface ChartColumns {
  width: number;
  generation: number[];
  first: number[];
  n: number[];
  bad: number[];
  signals: Record<string, Columns>;
}

export interface Place {
  generation: number;
  before: number;
  batches: number;
  epoch: number;
}

export interface Mark {
  x: number;
  kind: string;
  label: string;
  more: string;
}

export interface TrainingDetail {
  number: number;
  part_names: string[];
  group_names: string[];
  versions: Record<string, string>;
  generations: Place[];
  marks: Mark[];
  settings: { name: string; value: string }[];
  changes: {
    generation: number;
    epoch: number;
    batch: number;
    name: string;
    old: string;
    new: string;
    reason: string;
  }[];
}

export type Command = "stop" | "rollback" | "adjust";
