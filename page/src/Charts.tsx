// The charts of a training over any span of its batches, with one zoom for all.

import { useState } from "preact/hooks";
import * as api from "./api";
import { PanelChart, StripChart } from "./Chart";
import { count } from "./format";
import { useFresh } from "./fresh";
import { drawn, KINDS, kindsOf } from "./marks";
import { panelsOf } from "./panels";
import { clamped, EMPTY, joined, parts, placesOf, type Span, totalOf } from "./series";
import type { ChartColumns, Checkpoint, Place, TrainingDetail } from "./types";

const POINTS = 600;
const LIVE_MS = 400;
const LATEST = [1_000, 10_000];
const FEWEST: ChartColumns = { width: 1, generation: [], first: [], n: [], bad: [], signals: {} };

type Zoom = { span: Span } | { latest: number } | null; // null: the whole training

export function Charts({ run, training, about, checkpoints, stamp }: { run: string; training: number; about: TrainingDetail | null; checkpoints: Checkpoint[]; stamp: string }) {
  const [zoom, setZoom] = useState<Zoom>(null);
  const [whole, problem] = useFresh(() => api.chart(run, { training, points: POINTS }), `${run}/${training}`, stamp, LIVE_MS);
  const places = placesOf(about?.generations ?? [], whole ?? FEWEST);
  const total = totalOf(places);
  const span = spanOf(zoom, total);
  const key = zoom === null ? "" : `${run}/${training}/${span.from}/${span.to}`;
  const [near] = useFresh(() => (zoom === null ? Promise.resolve(null) : zoomed(run, training, span, places)), key, zoom && "latest" in zoom ? stamp : "", LIVE_MS);
  const series = whole ? joined(zoom !== null && near ? near : [whole], places) : EMPTY;
  const marks = drawn(about?.marks ?? [], checkpoints, training, places);
  const set = (to: Span | null): void => setZoom(to && { span: clamped(rounded(to), total) });
  const panels = panelsOf(series, about?.part_names ?? [], about?.group_names ?? []);
  const shared = { series, span, marks, zoom: set };
  if (!whole) return <p class="soft">{problem || "Loading the curves"}</p>;
  return (
    <section>
      <h2>Charts</h2>
      {!series.x.length ? <p class="soft">No batch was recorded yet.</p> : (
        <>
          <Toolbar zoom={zoom} set={setZoom} span={span} total={total} width={series.width} />
          <Key kinds={kindsOf(marks)} />
          <div class="charts" role="group" aria-label="Charts: arrow keys move, plus and minus zoom, 0 shows all" tabIndex={0} onKeyDown={(event) => keys(event, span, total, set)}>
            {panels.map((panel, i) => (
              <>
                <PanelChart key={panel.id} panel={panel} labels={i === 0} {...shared} />
                {i === 0 && <StripChart key="nonfinite" {...shared} />}
              </>
            ))}
          </div>
        </>
      )}
    </section>
  );
}

function spanOf(zoom: Zoom, total: number): Span {
  if (zoom === null) return { from: 1, to: Math.max(total, 2) };
  return "span" in zoom ? zoom.span : { from: Math.max(1, total - zoom.latest), to: Math.max(total, 2) };
}

const rounded = (span: Span): Span => ({ from: Math.floor(span.from), to: Math.ceil(span.to) });

const zoomed = (run: string, training: number, span: Span, places: Place[]): Promise<ChartColumns[]> =>
  Promise.all(
    parts(span, places).map(({ generation, first, last, share }) =>
      api.chart(run, { training, generation, first, last, points: Math.max(2, Math.round(POINTS * share)) }),
    ),
  );

const scaled = ({ from, to }: Span, factor: number): Span => {
  const [middle, half] = [(from + to) / 2, ((to - from) / 2) * factor];
  return { from: middle - half, to: middle + half };
};
const moved = ({ from, to }: Span, share: number): Span => ({ from: from + share * (to - from), to: to + share * (to - from) });

function keys(event: KeyboardEvent, span: Span, total: number, set: (span: Span | null) => void): void {
  const next: Record<string, Span | null> = {
    ArrowLeft: moved(span, -0.25), ArrowRight: moved(span, 0.25), "+": scaled(span, 0.5), "=": scaled(span, 0.5), "-": scaled(span, 2),
    0: null, Home: null, End: { from: total - (span.to - span.from), to: total },
  };
  if (!(event.key in next) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const to = next[event.key]!;
  set(to && to.to - to.from < total ? to : null);
}

function Toolbar({ zoom, set, span, total, width }: { zoom: Zoom; set: (zoom: Zoom) => void; span: Span; total: number; width: number }) {
  const go = (to: Span): void => set(to.to - to.from >= total ? null : { span: clamped(rounded(to), total) });
  return (
    <div class="toolbar" role="toolbar" aria-label="What the charts show">
      <button type="button" aria-pressed={zoom === null} onClick={() => set(null)}>Whole training</button>
      {LATEST.filter((n) => n < total).map((n) => (
        <button key={n} type="button" aria-pressed={zoom !== null && "latest" in zoom && zoom.latest === n} onClick={() => set({ latest: n })}>Latest {count(n)}</button>
      ))}
      <button type="button" aria-label="Earlier" onClick={() => go(moved(span, -0.5))}>←</button>
      <button type="button" aria-label="Later" onClick={() => go(moved(span, 0.5))}>→</button>
      <button type="button" aria-label="Zoom in" onClick={() => go(scaled(span, 0.5))}>+</button>
      <button type="button" aria-label="Zoom out" onClick={() => go(scaled(span, 2))}>−</button>
      <span class="soft small" data-field="span">
        batches {count(Math.max(1, Math.round(span.from)))} to {count(Math.round(span.to))}{width > 1 ? `, ${count(width)} behind a point` : ", each one"}
      </span>
    </div>
  );
}

function Key({ kinds }: { kinds: string[] }) {
  if (!kinds.length) return null;
  return (
    <ul class="legend marks" aria-label="Marks in the charts">
      {kinds.map((kind) => <li key={kind}><span class={`key mark-${kind}`} aria-hidden="true" />{KINDS[kind]}</li>)}
    </ul>
  );
}
