// What is marked on the axis of the charts. Pure.

import type { Checkpoint, Mark, Place } from "./types";

export interface Drawn {
  x: number;
  kind: string; // its colour is the variable --mark-<kind>
  label: string;
  foot: boolean; // a sign at the foot of the panel instead of a line
}

export const KINDS: Record<string, string> = {
  onset: "incident began",
  opened: "incident opened",
  order: "order",
  rollback: "rollback",
  generation: "restart",
  clean: "clean saved state",
  suspect: "other saved state",
};

export function drawn(marks: Mark[], checkpoints: Checkpoint[], training: number, places: Place[]): Drawn[] {
  const before = new Map(places.map((place) => [place.generation, place.before]));
  const lines = marks
    .filter((mark) => mark.kind in KINDS)
    .map((mark) => ({ x: mark.x, kind: mark.kind, label: mark.label, foot: false }));
  const feet = checkpoints
    .filter((one) => one.training === training && before.has(one.generation))
    .map((one) => ({
      x: before.get(one.generation)! + one.batches,
      kind: one.verdict === "clean" ? "clean" : "suspect",
      label: "",
      foot: true,
    }));
  return [...lines, ...feet];
}

export const kindsOf = (marks: Drawn[]): string[] => Object.keys(KINDS).filter((kind) => marks.some((mark) => mark.kind === kind));
