// One training: its state, its charts, its incidents, checkpoints, settings and timeline.

import * as api from "./api";
import { Actions } from "./Actions";
import { Charts } from "./Charts";
import { bytes, clock, count, number, plural, saved } from "./format";
import { useFresh } from "./fresh";
import { Pill, Table, Term } from "./parts";
import { to } from "./route";
import { capital, eta, incidentStatus, progress, statusOf } from "./status";
import { state } from "./store";
import { Timeline } from "./Timeline";
import type { Checkpoint, Glance, Incident, TrainingDetail } from "./types";

const OFTEN_MS = 1_000;
const SNAPSHOTS_S = 60; // nothing else that changes says that one was taken

export function RunView({ run, training, now_s }: { run: string; training: number; now_s: number }) {
  const glance = state.runs.get(run);
  const { nonfinite, generation, incident, epoch } = glance?.summary ?? {};
  const slow = `${generation}/${incident?.state}/${epoch}/${nonfinite}/${glance?.summary.state}`;
  const [detail] = useFresh(() => api.detail(run), run, slow, OFTEN_MS);
  const [about, problem] = useFresh(() => api.training(run, training), `${run}/${training}`, slow, OFTEN_MS);
  const [checkpoints] = useFresh(() => api.checkpoints(run), run, slow + Math.floor(now_s / SNAPSHOTS_S), OFTEN_MS);
  const [incidents] = useFresh(() => api.incidents(run), run, slow, OFTEN_MS);
  if (!glance) return <Unknown run={run} />;
  const mine = (checkpoints ?? []).filter((one) => one.training === training && !(one.dropped && one.extra_batches));
  return (
    <main id="main">
      <div class="title">
        <Pill status={statusOf(glance.summary)} />
        <h1>{glance.summary.title || run}</h1>
        <span class="soft">{[run !== glance.summary.title && run, glance.framework, detail?.device].filter(Boolean).join(" · ")}</span>
      </div>
      <Trainings glance={glance} shown={training} />
      <Numbers glance={glance} now_s={now_s} />
      <Actions glance={glance} incident={incident ?? null} />
      {problem && <p role="alert" class="bad-text">{problem}</p>}
      <InShort lines={detail?.in_short ?? []} />
      <Incidents run={run} training={training} incidents={incidents ?? []} />
      <Charts run={run} training={training} about={about} checkpoints={mine} stamp={String(glance.summary.batches)} />
      <Checkpoints found={mine} />
      {about && <Settings about={about} />}
      <Timeline run={run} stamp={`${slow}/${state.line}`} />
    </main>
  );
}

function Unknown({ run }: { run: string }) {
  return (
    <main id="main">
      <h1>{state.loaded ? "This run is not known" : "Loading"}</h1>
      {state.loaded && <p>The daemon knows no run {run}. It may have ended long ago. <a href="#/">All runs</a></p>}
    </main>
  );
}

function Trainings({ glance, shown }: { glance: Glance; shown: number }) {
  if (glance.trainings.length < 2) return null;
  return (
    <nav aria-label="Trainings" class="tabs">
      {glance.trainings.map((one) => (
        <a key={one.number} href={to(glance.summary.run, one.number)} aria-current={one.number === shown ? "page" : undefined}>
          Training {one.number} <span class="soft">{one.state}</span>
        </a>
      ))}
    </nav>
  );
}

function Numbers({ glance, now_s }: { glance: Glance; now_s: number }) {
  const { summary } = glance;
  const done = progress(glance);
  const time = eta(glance, now_s);
  return (
    <>
      <div class="where">
        <span data-field="progress">{done.text}</span>
        <progress max={1} value={done.share} aria-label={`${Math.round(done.share * 100)} % of the training`} />
        <span class={`small ${time.tone === "bad" ? "bad-text" : "soft"}`}>{time.text}</span>
      </div>
      <dl class="numbers">
        {(summary.live || glance.loss !== null) && <Term name="Loss" value={number(glance.loss)} field="loss" />}
        <Term name="NaN batches" value={count(summary.nonfinite)} field="nonfinite" tone={summary.nonfinite ? "bad" : ""} />
        <Term name="Steps skipped" value={count(summary.skipped)} field="skipped" />
        {(summary.live || glance.reserved !== null) && <Term name="GPU memory" value={bytes(glance.reserved)} field="memory" />}
        <Term name="Pace" value={glance.pace_s ? `${number(1 / glance.pace_s)} batches/s` : "–"} />
        <Term name="Batches" value={count(summary.batches)} field="batches" />
        <Term name="Generation" value={summary.generation} />
      </dl>
    </>
  );
}

function InShort({ lines }: { lines: [string, string][] }) {
  if (!lines.length) return null;
  return (
    <section aria-label="In short" class="short">
      <dl>{lines.map(([label, text]) => <div key={label}><dt>{label}</dt><dd>{text}</dd></div>)}</dl>
    </section>
  );
}

function Incidents({ run, training, incidents }: { run: string; training: number; incidents: Incident[] }) {
  if (!incidents.length) return null;
  return (
    <section>
      <h2>Incidents</h2>
      <Table name="Incidents" head={["Incident", "State", "What", "First bad batch", "Action", "Batches lost", "Outcome"]}>
        {incidents.toReversed().map((one) => (
          <tr key={one.id}>
            <td><a href={to(run, training, one.number)}>Report {one.number}</a></td>
            <td><Pill status={incidentStatus(one)} /></td>
            <td>{one.family}</td>
            <td class="nowrap">epoch {one.onset_epoch}, batch {count(one.onset_batch)}</td>
            <td>{one.action.replaceAll("_", " ")}{one.attempts > 1 ? `, ${one.attempts} times` : ""}</td>
            <td>{count(one.batches_discarded)}</td>
            <td class="why">{one.outcome || (one.live ? `${count(one.watch_seen)} of ${count(one.watch_needed)} batches watched` : "–")}</td>
          </tr>
        ))}
      </Table>
    </section>
  );
}

const TONE: Record<string, "good" | "bad" | "warn"> = { clean: "good", poisoned: "bad" };

function Checkpoints({ found }: { found: Checkpoint[] }) {
  return (
    <section>
      <h2>Checkpoints</h2>
      {!found.length && <p class="soft">No checkpoint yet.</p>}
      {found.length > 0 && (
        <Table name="Checkpoints" head={["Verdict", "Epoch", "Generation", "Saved", "Size", "Why", "Path"]}>
          {found.toReversed().map((one, i) => (
            <tr key={i}>
              <td><Pill status={{ word: capital(one.verdict), tone: TONE[one.verdict] ?? "warn" }} /></td>
              <td class="nowrap">{saved(one)}{one.is_best ? ", best" : ""}</td>
              <td>{one.generation}</td>
              <td class="nowrap">{clock(one.saved_s)}</td>
              <td class="nowrap">{bytes(one.size)}</td>
              <td class="why">{one.why}</td>
              <td class="path">{one.dropped ? "copy not kept" : one.path || "not copied yet"}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}

function Settings({ about }: { about: TrainingDetail }) {
  const versions = Object.entries(about.versions).map(([name, version]) => `${name} ${version}`);
  return (
    <section>
      <h2>Settings and what changed</h2>
      {about.changes.length > 0 ? (
        <Table name="Changes of settings" head={["Setting", "Before", "After", "Where", "Why"]}>
          {about.changes.toReversed().map((one, i) => (
            <tr key={i}>
              <td>{one.name}</td>
              <td>{one.old}</td>
              <td>{one.new}</td>
              <td class="nowrap">generation {one.generation}, {one.epoch ? `epoch ${one.epoch}, batch ${count(one.batch)}` : "start"}</td>
              <td class="nowrap">{one.reason || <span class="bad-text">not explained</span>}</td>
            </tr>
          ))}
        </Table>
      ) : <p class="soft">No setting changed outside its schedule.</p>}
      {about.settings.length > 0 && (
        <details>
          <summary>{plural(about.settings.length, "setting")} of the training{versions.length ? `, ${versions.join(", ")}` : ""}</summary>
          <dl class="settings">{about.settings.map((one) => <div key={one.name}><dt>{one.name}</dt><dd>{one.value}</dd></div>)}</dl>
        </details>
      )}
    </section>
  );
}
