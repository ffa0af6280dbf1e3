// One incident: its report. What reads Markdown is a file of its own: only this view needs it.

import { useEffect, useState } from "preact/hooks";
import * as api from "./api";
import { useFresh } from "./fresh";
import { Actions } from "./Actions";
import { to } from "./route";
import { incidentStatus } from "./status";
import { state } from "./store";
import { Pill } from "./parts";

type Reader = typeof import("./Markdown").Markdown;

export function IncidentView({ run, training, incident }: { run: string; training: number; incident: number }) {
  const glance = state.runs.get(run);
  const stamp = `${glance?.summary.state}/${glance?.summary.nonfinite}/${glance?.summary.incident?.state}/${glance?.summary.generation}`;
  const [text, problem] = useFresh(() => api.report(run, incident), `${run}/${incident}`, stamp, 2_000);
  const [all] = useFresh(() => api.incidents(run), run, stamp, 2_000);
  const [Markdown, setMarkdown] = useState<Reader | null>(null);
  const [missing, setMissing] = useState(false);
  useEffect(() => {
    import("./Markdown").then((found) => setMarkdown(() => found.Markdown), () => setMissing(true));
  }, []);
  const one = all?.find((found) => found.number === incident);
  return (
    <main id="main" class="narrow">
      <div class="title">
        {one && <Pill status={incidentStatus(one)} />}
        <a href={to(run, training)}>Charts of {glance?.summary.title || run}</a>
      </div>
      {glance && <Actions glance={glance} incident={one ?? null} />}
      {problem && <p role="alert" class="bad-text">{problem}</p>}
      {missing && <p role="alert" class="bad-text">A part of this page could not be loaded. Load the page again.</p>}
      <article class="report">
        {text && Markdown ? <Markdown text={text} /> : !problem && !missing && <p class="soft">Loading the report</p>}
      </article>
    </main>
  );
}
