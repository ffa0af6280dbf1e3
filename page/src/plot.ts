// uPlot with our colours, marks and zoom. Everything it draws asks for its colour when it draws.

import uPlot from "uplot";
import type { Drawn } from "./marks";
import type { Line, Panel } from "./panels";
import type { Span } from "./series";
import { colour, css } from "./theme";

const FONT = "12px system-ui, sans-serif";
const NEAR = 14; // pixels between lines that share a label
const AXIS = 62; // pixels for the numbers beside a panel
const WIDE = 4; // of a strip's tick, pixels

export interface View {
  span: Span;
  marks: Drawn[];
  labels: boolean; // write what the marks are
}

export interface Hooks {
  view: () => View;
  zoom: (span: Span | null) => void;
  cursor: (index: number | null) => void;
}

const shared = (hooks: Hooks): Partial<uPlot.Options> => ({
  legend: { show: false },
  cursor: {
    sync: { key: "training" },
    drag: { x: true, y: false, setScale: false },
    y: false,
    points: { size: 6 },
    bind: { dblclick: () => () => (hooks.zoom(null), null) },
  },
  hooks: {
    drawAxes: [(u) => drawMarks(u, hooks.view())],
    setCursor: [(u) => hooks.cursor(u.cursor.idx ?? null)],
    setSelect: [
      (u) => {
        if (u.select.width < 4) return;
        hooks.zoom({ from: u.posToVal(u.select.left, "x"), to: u.posToVal(u.select.left + u.select.width, "x") });
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      },
    ],
  },
});

const xScale = (hooks: Hooks): uPlot.Scale => ({
  time: false,
  range: () => {
    const { from, to } = hooks.view().span;
    return [from, Math.max(to, from + 1)];
  },
});

const axis = (more: uPlot.Axis): uPlot.Axis => ({
  stroke: () => css("--soft"),
  font: FONT,
  grid: { stroke: () => css("--rule"), width: 1 },
  ticks: { stroke: () => css("--rule"), width: 1, size: 4 },
  ...more,
});

export function plot(panel: Panel, hooks: Hooks, place: HTMLElement, height: number): uPlot {
  const options: uPlot.Options = {
    ...shared(hooks),
    width: Math.max(place.clientWidth, 100),
    height,
    padding: [8, 8, 0, 0],
    scales: { x: xScale(hooks), y: panel.log ? { distr: 3 } : { range: padded } },
    axes: [
      axis({ size: 28, space: 70, values: (_, ticks) => ticks.map((tick) => short(tick)) }),
      axis({ size: AXIS, space: 32, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : (panel.tick ?? panel.format)(tick))) }),
    ],
    series: [{}, ...panel.lines.flatMap(seriesOf)],
    bands: panel.lines.flatMap((line, i) => bandOf(line, firstOf(panel.lines, i), i)),
  };
  return new uPlot(options, [[]], place);
}

export function dataOf(x: number[], lines: Line[]): uPlot.AlignedData {
  return [x, ...lines.flatMap((line) => (line.low && line.high ? [line.values, line.high, line.low] : [line.values]))];
}

const firstOf = (lines: Line[], i: number): number =>
  1 + lines.slice(0, i).reduce((sum, line) => sum + (line.low && line.high ? 3 : 1), 0);

function seriesOf(line: Line, i: number): uPlot.Series[] {
  const own: uPlot.Series = {
    label: line.name,
    stroke: () => colour(i),
    width: 1.5,
    dash: i % 3 === 1 ? [7, 3] : i % 3 === 2 ? [2, 3] : [],
    points: { show: (u: uPlot) => u.data[0].length < 60, size: 4, stroke: () => colour(i), fill: () => colour(i) },
  };
  const edge: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };
  return line.low && line.high ? [own, edge, { ...edge }] : [own];
}

function bandOf(line: Line, first: number, i: number): uPlot.Band[] {
  if (!line.low || !line.high) return [];
  return [{ series: [first + 1, first + 2], fill: () => `${colour(i)}${line.band === "expected" ? "2e" : "40"}` }];
}

function padded(_: uPlot, low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

const short = (value: number): string =>
  value >= 1e6 ? `${Number((value / 1e6).toFixed(2))} M` : value >= 1e4 ? `${Number((value / 1e3).toFixed(1))} k` : String(Math.round(value * 10) / 10);

/** One tick for each stretch with bad batches; the more of them, the taller. */
export function strip(bad: () => { bad: number[]; n: number[] }, hooks: Hooks, place: HTMLElement): uPlot {
  const base = shared(hooks);
  return new uPlot(
    {
      ...base,
      width: Math.max(place.clientWidth, 100),
      height: 44,
      padding: [4, 8, 4, AXIS],
      scales: { x: xScale(hooks), y: { range: [0, 1] } },
      axes: [{ show: false }, { show: false }],
      series: [{}, { stroke: "transparent", points: { show: false } }],
      hooks: { ...base.hooks, draw: [(u) => drawBad(u, bad())] },
    },
    [[], []],
    place,
  );
}

function drawBad(u: uPlot, { bad, n }: { bad: number[]; n: number[] }): void {
  const { left, top, width, height } = u.bbox;
  const { ctx } = u;
  ctx.save();
  ctx.fillStyle = css("--strip");
  ctx.fillRect(left, top, width, height);
  ctx.fillStyle = css("--bad");
  u.data[0].forEach((x, i) => {
    if (!bad[i]) return;
    const tall = height * Math.max(0.35, bad[i]! / (n[i] || 1));
    const at = u.valToPos(x, "x", true);
    if (at < left - WIDE || at > left + width + WIDE) return;
    ctx.fillRect(at - (WIDE * devicePixelRatio) / 2, top + height - tall, WIDE * devicePixelRatio, tall);
  });
  ctx.restore();
}

function drawMarks(u: uPlot, { marks, labels }: View): void {
  const { left, top, width, height } = u.bbox;
  const { ctx } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  for (const mark of marks) {
    const at = Math.round(u.valToPos(mark.x, "x", true));
    if (at < left || at > left + width) continue;
    ctx.strokeStyle = ctx.fillStyle = css(`--mark-${mark.kind}`);
    if (mark.foot) {
      drawFoot(ctx, at, top + height, ratio);
      continue;
    }
    ctx.lineWidth = (mark.kind === "onset" || mark.kind === "rollback" ? 2 : 1.25) * ratio;
    ctx.setLineDash(mark.kind === "opened" ? [6 * ratio, 3 * ratio] : mark.kind === "order" ? [2 * ratio, 3 * ratio] : []);
    ctx.beginPath();
    ctx.moveTo(at, top);
    ctx.lineTo(at, top + height);
    ctx.stroke();
  }
  if (labels) drawLabels(u, marks);
  ctx.restore();
}

/** What the lines are, beside them; those that lie together in one text. */
function drawLabels(u: uPlot, marks: Drawn[]): void {
  const { left, top, width } = u.bbox;
  const { ctx } = u;
  const ratio = devicePixelRatio;
  ctx.setLineDash([]);
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.textBaseline = "alphabetic";
  ctx.fillStyle = css("--fg");
  const labelled = together(u, marks, NEAR * ratio).filter(({ at }) => at >= left && at <= left + width);
  let free = left;
  labelled.forEach(({ at, text }, i) => {
    const wide = ctx.measureText(text).width + 8 * ratio;
    const next = labelled[i + 1]?.at ?? left + width;
    const right = at >= free && at + wide < next;
    if (!right && at - wide < free) return;
    ctx.textAlign = right ? "left" : "right";
    ctx.fillText(text, at + (right ? 5 : -5) * ratio, top + 11 * ratio);
    free = right ? at + wide : at;
  });
}

function together(u: uPlot, marks: Drawn[], near: number): { at: number; text: string }[] {
  const found: { at: number; text: string }[] = [];
  for (const mark of marks.filter((one) => !one.foot).sort((a, b) => a.x - b.x)) {
    const at = u.valToPos(mark.x, "x", true);
    const last = found.at(-1);
    if (last && at - last.at < near) last.text += ` · ${mark.label}`;
    else found.push({ at, text: mark.label });
  }
  return found;
}

function drawFoot(ctx: CanvasRenderingContext2D, at: number, foot: number, ratio: number): void {
  ctx.beginPath();
  ctx.moveTo(at, foot - 9 * ratio);
  ctx.lineTo(at + 5 * ratio, foot);
  ctx.lineTo(at - 5 * ratio, foot);
  ctx.fill();
}
