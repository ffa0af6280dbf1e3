// One panel of the charts, its name, its values at the cursor, and the same in words for those who do not see it.

import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { count, number } from "./format";
import type { Drawn } from "./marks";
import type { Panel } from "./panels";
import { dataOf, type Hooks, plot, strip, type View } from "./plot";
import type { Series, Span } from "./series";
import { COLOURS, onTheme } from "./theme";

interface Shared {
  series: Series;
  span: Span;
  marks: Drawn[];
  zoom: (span: Span | null) => void;
}

/** Make the plot again when `remake` changes, give it new data otherwise, and keep it as wide as its place. */
function usePlot(make: (hooks: Hooks, place: HTMLElement) => uPlot, shape: string, data: () => uPlot.AlignedData, view: View, zoom: Shared["zoom"]): [preact.RefObject<HTMLDivElement>, number | null] {
  const place = useRef<HTMLDivElement>(null);
  const made = useRef<uPlot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const latest = useRef({ view, zoom });
  latest.current = { view, zoom };
  useEffect(() => {
    const u = make({ view: () => latest.current.view, zoom: (span) => latest.current.zoom(span), cursor: setCursor }, place.current!);
    made.current = u;
    u.setData(data());
    const resize = new ResizeObserver(() => u.setSize({ width: Math.max(place.current!.clientWidth, 100), height: u.height }));
    resize.observe(place.current!);
    const off = onTheme(() => u.redraw(false, true));
    return () => {
      off();
      resize.disconnect();
      u.destroy();
    };
  }, [shape]);
  useEffect(() => made.current?.setData(data()));
  return [place, cursor];
}

export function PanelChart({ panel, labels, ...shared }: Shared & { panel: Panel; labels: boolean }) {
  const { series, span, marks, zoom } = shared;
  const narrow = innerWidth < 600;
  const shape = `${panel.log}/${panel.lines.map((line) => `${line.name}${line.low ? "+" : ""}`).join("/")}`;
  const [place, cursor] = usePlot(
    (hooks, where) => plot(panel, hooks, where, narrow ? 150 : 170),
    shape,
    () => dataOf(series.x, panel.lines),
    { span, marks, labels },
    zoom,
  );
  const band = panel.lines.find((line) => line.low)?.band;
  return (
    <figure class="chart" data-panel={panel.id}>
      <figcaption>
        <h3>{panel.title}</h3>
        {panel.log && <span class="note">logarithmic</span>}
        {band && <span class="note">shaded: {band}</span>}
        <ul class="legend">
          {panel.lines.map((line, i) => (
            <li key={line.name}>
              <span class={`key k${i % COLOURS}`} aria-hidden="true" />
              {line.name} <b>{panel.format(cursor === null ? last(line.values) : line.values[cursor])}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={place} class="plot" role="img" aria-label={inWords(panel)} />
    </figure>
  );
}

export function StripChart({ series, span, marks, zoom }: Shared) {
  const latest = useRef(series);
  latest.current = series;
  const [place, cursor] = usePlot(
    (hooks, where) => strip(() => latest.current, hooks, where),
    "strip",
    () => [series.x, series.x.map(() => null)],
    { span, marks: marks.filter((mark) => !mark.foot), labels: false },
    zoom,
  );
  const sum = series.bad.reduce((all, one) => all + one, 0);
  const seen = series.n.reduce((all, one) => all + one, 0);
  const here = cursor === null ? `${count(sum)} of ${count(seen)} batches in view` : `${count(series.bad[cursor] ?? 0)} here`;
  return (
    <figure class="chart" data-panel="nonfinite">
      <figcaption>
        <h3>NaN or infinity</h3>
        <ul class="legend">
          <li>
            <span class="key bad" aria-hidden="true" />
            batches <b>{here}</b>
          </li>
        </ul>
      </figcaption>
      <div ref={place} class="plot" role="img" aria-label={`${count(sum)} of ${count(seen)} batches in view were not finite`} />
    </figure>
  );
}

function last(values: (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

function inWords(panel: Panel): string {
  const lines = panel.lines.map((line) => {
    const known = line.values.filter((value) => value !== null);
    if (!known.length) return `${line.name}: no finite value`;
    const low = known.reduce((a, b) => Math.min(a, b));
    const high = known.reduce((a, b) => Math.max(a, b));
    return `${line.name}: last ${panel.format(last(line.values))}, from ${panel.format(low)} to ${panel.format(high)}`;
  });
  return `${panel.title} over the batches in view. ${lines.join("; ")}`;
}

/** The last hundred or so losses in a small line; a break and a dot where they were not finite. */
export function Sparkline({ values, bad }: { values: (number | null)[]; bad: number[] }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return <span class="soft">no curve yet</span>;
  const [wide, tall] = [160, 36];
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  const x = (i: number): number => (i / Math.max(1, values.length - 1)) * (wide - 4) + 2;
  const y = (value: number): number => tall - 6 - ((value - low) / (high - low || 1)) * (tall - 10);
  const path = values.map((value, i) => (value === null ? "" : `${values[i - 1] === null || i === 0 ? "M" : "L"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`)).join("");
  return (
    <svg class="spark" viewBox={`0 0 ${wide} ${tall}`} role="img" aria-label={`Loss from ${number(known[0])} to ${number(known.at(-1))}`}>
      <path d={path} />
      {bad.map((n, i) => n > 0 && <rect key={i} x={x(i) - 1} y={tall - 5} width="2" height="5" />)}
    </svg>
  );
}
