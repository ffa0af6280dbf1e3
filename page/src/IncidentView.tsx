// One incident: its report.

import * as api from "./api";
import { useFresh } from "./fresh";
import { Markdown } from "./Markdown";
import { Actions } from "./Actions";
import { to } from "./route";
import { incidentStatus } from "./status";
import { state } from "./store";
import { Pill } from "./parts";

export function IncidentView({ run, training, incident }: { run: string; training: number; incident: number }) {
  const glance = state.runs.get(run);
  const stamp = `${glance?.summary.state}/${glance?.summary.nonfinite}/${glance?.summary.incident?.state}/${glance?.summary.generation}`;
  const [text, problem] = useFresh(() => api.report(run, incident), `${run}/${incident}`, stamp, 2_000);
  const [all] = useFresh(() => api.incidents(run), run, stamp, 2_000);
  const one = all?.find((found) => found.number === incident);
  return (
    <main id="main" class="narrow">
      <div class="title">
        {one && <Pill status={incidentStatus(one)} />}
        <a href={to(run, training)}>Charts of {glance?.summary.title || run}</a>
      </div>
      {glance && <Actions glance={glance} incident={one ?? null} />}
      {problem && <p role="alert" class="bad-text">{problem}</p>}
      <article class="report">{text ? <Markdown text={text} /> : !problem && <p class="soft">Loading the report</p>}</article>
    </main>
  );
}
