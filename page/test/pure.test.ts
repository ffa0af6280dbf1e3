/// <reference types="node" />
// What is computed without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, duration, number, plural, saved } from "../src/format";
import { drawn } from "../src/marks";
import { panelsOf } from "../src/panels";
import { parsed, to } from "../src/route";
import { clamped, expected, joined, parts, placesOf, totalOf, wantsLog } from "../src/series";
import { EventParser } from "../src/sse";
import { eta, headline, incidentStatus, progress, sorted, statusOf } from "../src/status";
import type { ChartColumns, Glance, Place, RunSummary } from "../src/types";

const column = (generation: number, first: number[], mean: (number | null)[]): ChartColumns => ({
  width: 1, generation: first.map(() => generation), first, n: first.map(() => 1), bad: mean.map((one) => (one === null ? 1 : 0)),
  signals: { loss: { mean, low: null, high: null } },
});
const place = (generation: number, before: number, batches: number): Place => ({ generation, before, batches, epoch: 1 });
const summary = (more: Partial<RunSummary>): RunSummary => ({
  run: "r", title: "", state: "training", live: true, act: true, supervised: true, generation: 1, epoch: 1, epochs: 5, batch: 0,
  batches_per_epoch: 10, batches: 1, nonfinite: 0, skipped: 0, opened_s: 0, ended_s: null, last_batch_s: null, incident: null,
  findings: [], ...more,
});
const glance = (more: Partial<RunSummary>, rest: Partial<Glance> = {}): Glance => ({
  summary: summary(more), trainings: [], training: 1, framework: "", loss: null, reserved: null, pace_s: null, eta_s: null,
  deadline_s: null, deadline_kept: null, ...rest,
});
const incident = (state: string) => ({ state, live: true }) as RunSummary["incident"];

test("events come whole, however the stream is cut, and comments are none", () => {
  const text = 'retry: 2000\n\n: still here\n\nevent: run\ndata: {"a":1}\n\nid: 4\nevent: timeline\ndata: {"n":4}\n\n';
  for (let size = 1; size < text.length; size++) {
    const parser = new EventParser();
    const found = (text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? []).flatMap((one) => parser.take(one));
    assert.deepEqual(found, [{ event: "run", data: { a: 1 } }, { event: "timeline", data: { n: 4 } }]);
  }
});

test("generations lie one behind another, and a span asks each that it touches", () => {
  const places = placesOf([place(1, 0, 100), place(2, 100, 50)], column(2, [60], [1]));
  assert.equal(totalOf(places), 160, "the curve reaches further than the state");
  assert.deepEqual(parts({ from: 91, to: 111 }, places), [
    { generation: 1, first: 91, last: 100, share: 0.5 },
    { generation: 2, first: 1, last: 11, share: 0.55 },
  ]);
  const series = joined([column(1, [99, 100], [1, null]), column(2, [1], [3])], places);
  assert.deepEqual(series.x, [99, 100, 101]);
  assert.deepEqual(series.bad, [0, 1, 0]);
  assert.deepEqual(series.signals["loss"]!.mean, [1, null, 3]);
});

test("a span stays within the training and does not vanish", () => {
  assert.deepEqual(clamped({ from: -50, to: 50 }, 1000), { from: 0, to: 100 });
  assert.deepEqual(clamped({ from: 990, to: 1090 }, 1000), { from: 900, to: 1000 });
  assert.deepEqual(clamped({ from: 5, to: 5 }, 1000), { from: 5, to: 7 });
});

test("a jump is outside the expected band, noise within it, and a gap is passed over", () => {
  const values = Array.from({ length: 60 }, (_, i) => (i === 30 ? null : 4 * Math.exp(0.2 * Math.sin(i * 1.7))));
  const { low, high } = expected([...values, 400]);
  assert.equal(low[7], null);
  values.forEach((value, i) => assert.ok(value === null || low[i] === null || (value > low[i]! && value < high[i]!)));
  assert.ok(high[60]! < 400);
});

test("an axis is logarithmic where the values ask for it", () => {
  assert.equal(wantsLog([1, null, 2]), false);
  assert.equal(wantsLog([1, 100]), true);
  assert.equal(wantsLog([0, 100]), false);
});

test("a panel is there for what was recorded, with the names of the parts", () => {
  const found = column(1, [1], [2]);
  found.signals["part/0"] = { mean: [1], low: null, high: null };
  const panels = panelsOf(joined([found], [place(1, 0, 1)]), ["box"], []);
  assert.deepEqual(panels.map((panel) => [panel.id, panel.lines[0]!.name]), [["loss", "loss"], ["parts", "box"]]);
});

test("a checkpoint is marked where it was saved, with its verdict, and a snapshot with its batch", () => {
  const checkpoint = { generation: 2, training: 1, batches: 7, verdict: "poisoned", epoch: 3, extra_batches: 0 };
  const snapshot = { ...checkpoint, batches: 9, verdict: "clean", extra_batches: 1200 };
  const found = [checkpoint, snapshot] as never[];
  const marks = drawn([{ x: 5, kind: "epoch", label: "", more: "" }], found, 1, [place(1, 0, 10), place(2, 10, 10)]);
  assert.deepEqual(marks, [
    { x: 17, kind: "suspect", label: "", foot: true },
    { x: 19, kind: "clean", label: "", foot: true },
  ]);
});

test("in a column of epochs a snapshot has its batch", () => {
  assert.deepEqual([saved({ epoch: 3, extra_batches: 0 }), saved({ epoch: 3, extra_batches: 1200 })], ["3", "4, batch 1,200"]);
});

test("a run's state is one word, an incident before all else", () => {
  assert.equal(statusOf(summary({})).word, "Training");
  assert.equal(statusOf(summary({ incident: incident("mitigating") })).word, "Repairing");
  assert.equal(statusOf(summary({ incident: incident("watching") })).tone, "warn");
  assert.equal(statusOf(summary({ state: "failed", live: false })).tone, "bad");
  assert.deepEqual(statusOf(summary({ state: "given up", live: false })), { word: "Given up", tone: "bad" });
  assert.deepEqual(incidentStatus(incident("given_up")!), { word: "Given up", tone: "bad" });
  assert.equal(incidentStatus(incident("resolved")!).tone, "good");
  assert.equal(incidentStatus(incident("closed_with_run")!).tone, "quiet");
  assert.equal(statusOf(summary({ findings: [{ detector: "d", severity: "warning", summary: "" }] })).word, "Warning");
  assert.equal(statusOf(summary({ findings: [{ detector: "d", severity: "info", summary: "" }] })).word, "Training");
});

test("trouble comes first, and the first line counts it", () => {
  const runs = [glance({ run: "ended", live: false, state: "failed" }), glance({ run: "well" }), glance({ run: "ill", incident: incident("open") })];
  assert.deepEqual(sorted(runs).map((run) => run.summary.run), ["ill", "well", "ended"]);
  assert.equal(headline(runs).word, "1 of 2 live runs needs attention");
  assert.equal(headline([]).word, "No run yet");
  assert.equal(headline([glance({ batches: 0, epoch: null, state: "starting" })]).word, "A run is starting");
});

test("the time left is held against the deadline", () => {
  assert.equal(eta(glance({}, { eta_s: 7300, deadline_s: 10_900 }), 100).text, "2 h 0 min left, 1 h 0 min before the deadline");
  assert.deepEqual(eta(glance({}, { eta_s: 7300, deadline_s: 100 }), 100).tone, "bad");
});

test("numbers, sizes and times are short", () => {
  assert.deepEqual([number(null), number(NaN), number(0), number(1.23456), number(123456), number(1e-5)], ["–", "–", "0", "1.235", "123500", "1.00e-5"]);
  assert.deepEqual([bytes(4_200_000_000), bytes(1 << 20), duration(59.6), duration(90_000)], ["3.91 GiB", "1 MiB", "1 min", "1 d 1 h"]);
  assert.deepEqual([plural(1, "batch"), plural(2, "batch"), plural(3, "run")], ["1 batch", "2 batches", "3 runs"]);
});

test("an address leads back to where it came from, whatever the run is called", () => {
  for (const run of ["night", "a/b", "100%", "<b>"]) assert.deepEqual(parsed(to(run, 2, 3)), { run, training: 2, incident: 3 });
  assert.equal(parsed("#/"), null);
  assert.equal(parsed("#/run/%zz/1"), null);
});

test("a batch has the number that alerts and reports give it: from 0", () => {
  assert.equal(progress(glance({ epoch: 4, batch: 32, batches_per_epoch: 7533 })).text, "Epoch 4 / 5, batch 32 / 7,533");
});

test("an epoch that a run left half way does not count as done", () => {
  const line = { number: 1, state: "exception", generation: 1, epoch: 2, epochs: 4, batches: 105, nonfinite: 0, incidents: 0 };
  const over = (state: string) => progress(glance({ epoch: null, batch: null }, { trainings: [{ ...line, state }] })).share;
  assert.equal(over("exception"), 0.25);
  assert.equal(over("finished"), 0.5);
});
