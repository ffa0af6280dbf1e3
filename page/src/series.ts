// The curves of a training on one axis: the batches of all its generations, one behind another. Pure.

import type { ChartColumns, Columns, Place } from "./types";

export interface Span {
  from: number;
  to: number;
}

export interface Series {
  width: number; // batches behind one point
  x: number[];
  generation: number[];
  first: number[];
  n: number[];
  bad: number[];
  signals: Record<string, Columns>;
}

export const EMPTY: Series = { width: 1, x: [], generation: [], first: [], n: [], bad: [], signals: {} };

/** Where each generation lies: as the state says, and at least as far as its curve reaches. */
export function placesOf(places: Place[], whole: ChartColumns): Place[] {
  const reach = new Map<number, number>();
  whole.generation.forEach((generation, i) => {
    const last = whole.first[i]! - 1 + whole.n[i]!;
    reach.set(generation, Math.max(reach.get(generation) ?? 0, last));
  });
  const known = new Map(places.map((one) => [one.generation, one]));
  const every = [...new Set([...known.keys(), ...reach.keys()])].sort((a, b) => a - b);
  let before = 0;
  return every.map((generation) => {
    const place = known.get(generation);
    const batches = Math.max(place?.batches ?? 0, reach.get(generation) ?? 0);
    before = Math.max(before, place?.before ?? 0);
    const found = { generation, before, batches, epoch: place?.epoch ?? 0 };
    before += batches;
    return found;
  });
}

export const totalOf = (places: Place[]): number =>
  places.reduce((end, place) => Math.max(end, place.before + place.batches), 0);

/** The columns of one answer, or of one for each generation, on the axis. */
export function joined(answers: ChartColumns[], places: Place[]): Series {
  const before = new Map(places.map((place) => [place.generation, place.before]));
  const names = [...new Set(answers.flatMap((one) => Object.keys(one.signals)))];
  const all = <T>(pick: (one: ChartColumns) => T[]): T[] => answers.flatMap(pick);
  const column = (name: string, part: "mean" | "low" | "high"): (number | null)[] =>
    all((one) => one.signals[name]?.[part] ?? one.signals[name]?.mean ?? one.first.map(() => null));
  const bands = (name: string): boolean => answers.some((one) => one.signals[name]?.low);
  return {
    width: Math.max(1, ...answers.map((one) => one.width)),
    x: all((one) => one.first.map((first, i) => (before.get(one.generation[i]!) ?? 0) + first + (one.n[i]! - 1) / 2)),
    generation: all((one) => one.generation),
    first: all((one) => one.first),
    n: all((one) => one.n),
    bad: all((one) => one.bad),
    signals: Object.fromEntries(
      names.map((name) => [
        name,
        {
          mean: column(name, "mean"),
          low: bands(name) ? column(name, "low") : null,
          high: bands(name) ? column(name, "high") : null,
        },
      ]),
    ),
  };
}

/** What to ask of each generation that a span touches. */
export function parts(span: Span, places: Place[]): { generation: number; first: number; last: number; share: number }[] {
  const length = Math.max(1, span.to - span.from);
  return places
    .map((place) => {
      const first = Math.max(1, Math.floor(span.from - place.before));
      const last = Math.min(place.batches, Math.ceil(span.to - place.before));
      return { generation: place.generation, first, last, share: (last - first + 1) / length };
    })
    .filter((one) => one.last >= one.first);
}

const WINDOW = 48; // points before this one
const LEAST = 8;
const SPREADS = 4; // of the usual noise: nearly every point of a healthy run lies within

/** Where a value is expected from the points before it: their median, 4 spreads up and down in log space. */
export function expected(values: (number | null)[]): { low: (number | null)[]; high: (number | null)[] } {
  const low: (number | null)[] = [];
  const high: (number | null)[] = [];
  const recent: number[] = [];
  for (const value of values) {
    if (recent.length < LEAST) {
      low.push(null);
      high.push(null);
    } else {
      const level = median(recent);
      const spread = Math.max(0.05, 1.4826 * median(recent.map((one) => Math.abs(one - level))));
      low.push(Math.exp(level - SPREADS * spread));
      high.push(Math.exp(level + SPREADS * spread));
    }
    if (value !== null && value > 0) {
      recent.push(Math.log(value));
      if (recent.length > WINDOW) recent.shift();
    }
  }
  return { low, high };
}

function median(values: number[]): number {
  const ordered = [...values].sort((a, b) => a - b);
  const half = ordered.length >> 1;
  return ordered.length % 2 ? ordered[half]! : (ordered[half - 1]! + ordered[half]!) / 2;
}

const FACTOR_LOG = 30; // a curve over more than that is read on a logarithmic axis

export function wantsLog(values: (number | null)[]): boolean {
  let low = Infinity;
  let high = 0;
  for (const value of values) {
    if (value === null) continue;
    if (value <= 0) return false;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high > FACTOR_LOG * low;
}

/** A span within the whole; at least `least` batches long. */
export function clamped(span: Span, total: number, least = 2): Span {
  const length = Math.min(Math.max(span.to - span.from, least), Math.max(total, least));
  const from = Math.min(Math.max(0, span.from), Math.max(0, total - length));
  return { from, to: from + length };
}
