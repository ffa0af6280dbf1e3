// Which curves stand in which panel. Pure.

import { number, seconds } from "./format";
import type { Series } from "./series";
import { expected, wantsLog } from "./series";

export interface Line {
  name: string;
  values: (number | null)[];
  low?: (number | null)[] | null; // a band around it
  high?: (number | null)[] | null;
  band?: string; // what the band is
}

export interface Panel {
  id: string;
  title: string;
  lines: Line[];
  log: boolean;
  format: (value: number | null | undefined) => string;
  tick?: (value: number) => string; // of the axis; like `format` where it is not there
}

const gib = (value: number | null): number | null => (value === null ? null : value / 2 ** 30);

const PARTS = 8; // lines in one panel

export function panelsOf(series: Series, partNames: string[], groupNames: string[]): Panel[] {
  const line = (signal: string, name: string): Line[] => {
    const found = series.signals[signal];
    return found ? [{ name, values: found.mean, low: found.low, high: found.high, band: "lowest to highest" }] : [];
  };
  const many = (prefix: string, names: (i: number) => string): Line[] =>
    Object.keys(series.signals)
      .filter((name) => name.startsWith(prefix))
      .map((name) => Number(name.slice(prefix.length)))
      .sort((a, b) => a - b)
      .slice(0, PARTS)
      .map((i) => ({ name: names(i), values: series.signals[`${prefix}${i}`]!.mean }));
  const panels: Omit<Panel, "log">[] = [
    { id: "loss", title: "Loss", lines: line("loss", "loss"), format: number },
    { id: "parts", title: "Parts of the loss", lines: many("part/", (i) => partNames[i] ?? `part ${i + 1}`), format: number },
    { id: "grad_norm", title: "Gradient norm", lines: norm(series), format: number },
    {
      id: "memory",
      title: "GPU memory",
      lines: [...line("reserved", "reserved"), ...line("allocated", "allocated")].map(({ name, values }) => ({ name, values: values.map(gib) })),
      format: (value) => (value === null || value === undefined ? "–" : `${value.toFixed(2)} GiB`),
      tick: (value) => `${number(value)} GiB`,
    },
    {
      id: "rate",
      title: "Learning rate",
      lines: [
        ...line("learning_rate", groupNames[0] ?? "all").map(({ name, values }) => ({ name, values })),
        ...many("rate/", (i) => groupNames[i] ?? `group ${i + 1}`),
      ],
      format: number,
    },
    {
      id: "time",
      title: "Batch time",
      lines: [...line("batch_s", "batch"), ...line("data_wait_s", "waiting for data")].map(({ name, values }) => ({ name, values })),
      format: (value) => (value === null || value === undefined ? "–" : seconds(value)),
    },
  ];
  return panels
    .filter((panel) => panel.lines.length)
    .map((panel) => ({ ...panel, log: ["loss", "grad_norm", "rate"].includes(panel.id) && panel.lines.every((one) => wantsLog(one.values)) }));
}

function norm(series: Series): Line[] {
  const found = series.signals["grad_norm"];
  return found ? [{ name: "norm", values: found.mean, ...expected(found.mean), band: "expected" }] : [];
}
