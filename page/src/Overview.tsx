// The first screen: every run in one glance.

import * as api from "./api";
import { Sparkline } from "./Chart";
import { bytes, count, number, plural } from "./format";
import { useFresh } from "./fresh";
import { to } from "./route";
import { capital, eta, headline, incidentStatus, progress, sorted, statusOf } from "./status";
import { state } from "./store";
import type { Glance, TrainingLine } from "./types";
import { Pill, Term } from "./parts";

const SPARK_POINTS = 100;
const SPARK_MS = 2_000;

export function Overview({ now_s }: { now_s: number }) {
  const runs = sorted(state.runs.values());
  const head = headline(runs);
  const live = runs.filter((run) => run.summary.live);
  const ended = runs.filter((run) => !run.summary.live);
  return (
    <main id="main">
      <h1 class={`headline ${head.tone}`}>{state.loaded ? head.word : "Loading"}</h1>
      {state.loaded && !runs.length && (
        <p class="soft">
          Start one with <code>trainwarden run -- python train.py</code>. It appears here at once.
        </p>
      )}
      <ol class="runs">{live.map((run) => <RunCard key={run.summary.run} run={run} now_s={now_s} />)}</ol>
      {ended.length > 0 && <h2>Ended</h2>}
      <ol class="runs">{ended.map((run) => <RunCard key={run.summary.run} run={run} now_s={now_s} />)}</ol>
    </main>
  );
}

function RunCard({ run, now_s }: { run: Glance; now_s: number }) {
  const { summary } = run;
  const status = statusOf(summary);
  const done = progress(run);
  const time = eta(run, now_s);
  const [curve] = useFresh(
    () => api.chart(summary.run, { training: run.training, points: SPARK_POINTS, signals: "loss" }),
    `${summary.run}/${run.training}`,
    String(summary.batches),
    SPARK_MS,
  );
  return (
    <li class={`card ${status.tone}`} data-run={summary.run}>
      <div class="card-head">
        <Pill status={status} />
        <h3>
          <a href={to(summary.run, run.training)}>{summary.title || summary.run}</a>
        </h3>
        <span class="soft small">
          {summary.title && summary.title !== summary.run ? `${summary.run} · ` : ""}
          {run.framework || "no framework seen"}
          {summary.generation > 1 ? ` · generation ${summary.generation}` : ""}
          {summary.live && !summary.act ? " · only watched" : ""}
        </span>
      </div>
      <div class="card-body">
        <div class="where">
          <span data-field="progress">{done.text}</span>
          <progress max={1} value={done.share} aria-label={`${Math.round(done.share * 100)} % of the training`} />
          <span class={`small ${time.tone === "bad" ? "bad-text" : "soft"}`} data-field="eta">{time.text}</span>
        </div>
        <div class="spark-place">{curve ? <Sparkline values={curve.signals["loss"]?.mean ?? []} bad={curve.bad} /> : null}</div>
        <dl class="numbers">
          {(summary.live || run.loss !== null) && <Term name="Loss" value={number(run.loss)} field="loss" />}
          <Term name="NaN" value={count(summary.nonfinite)} field="nonfinite" tone={summary.nonfinite ? "bad" : ""} />
          {(summary.live || run.reserved !== null) && <Term name="Memory" value={bytes(run.reserved)} field="memory" />}
        </dl>
      </div>
      <Trouble run={run} />
      {run.trainings.length > 1 && <Trainings run={run} />}
    </li>
  );
}

/** What is wrong and what was done, in the daemon's own sentences. */
function Trouble({ run }: { run: Glance }) {
  const { summary } = run;
  const incidents = run.trainings.reduce((sum, one) => sum + one.incidents, 0);
  const ended = !summary.live && !["finished", "stopped"].includes(summary.state);
  const shown = incidents > 0 || ended;
  const stamp = shown ? `${summary.incident?.state}/${incidents}/${summary.state}/${summary.nonfinite}/${summary.generation}` : "";
  const [detail] = useFresh(() => (shown ? api.detail(summary.run) : Promise.resolve(null)), summary.run, stamp, 1_000);
  const wanted = ["What happened", "Likely cause", "Done", "Now"];
  const lines = (detail?.in_short ?? []).filter(([label]) => wanted.includes(label));
  if (!shown && !summary.findings.length) return null;
  const incident = summary.incident?.number ?? detail?.incidents ?? 0;
  return (
    <div class="trouble">
      <dl>
        {lines.map(([label, text]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      {!shown && summary.findings.slice(0, 2).map((one, i) => <p key={i}>{capital(one.severity)}: {one.summary}</p>)}
      {incident > 0 && (
        <p>
          <a href={to(summary.run, run.training, incident)}>Report of incident {incident}</a>
          {summary.incident && <span class="soft"> ({incidentStatus(summary.incident).word.toLowerCase()})</span>}
        </p>
      )}
    </div>
  );
}

function Trainings({ run }: { run: Glance }) {
  return (
    <details class="trainings">
      <summary>{plural(run.trainings.length, "training")}</summary>
      <ul>{run.trainings.map((one) => <TrainingRow key={one.number} run={run.summary.run} one={one} />)}</ul>
    </details>
  );
}

function TrainingRow({ run, one }: { run: string; one: TrainingLine }) {
  return (
    <li>
      <a href={to(run, one.number)}>Training {one.number}</a> {one.state}
      {one.epoch !== null && `, epoch ${one.epoch}${one.epochs ? ` / ${one.epochs}` : ""}`}, {plural(one.batches, "batch")}
      {one.nonfinite > 0 && <b class="bad-text">, {count(one.nonfinite)} NaN</b>}
    </li>
  );
}
