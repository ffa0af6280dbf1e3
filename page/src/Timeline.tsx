// What happened, line by line, the newest first.

import { useEffect, useState } from "preact/hooks";
import * as api from "./api";
import { clock } from "./format";
import type { TimelineLine } from "./types";

const SHOWN = 200;
const PAGES = 20; // asked at once: 500 lines each

export function Timeline({ run, stamp }: { run: string; stamp: string }) {
  const [lines, set] = useState<TimelineLine[]>([]);
  useEffect(() => {
    let here = true;
    void more(run, lines.at(-1)?.n ?? 0).then((found) => {
      if (here && found.length) set((known) => [...known, ...found.filter((one) => one.n > (known.at(-1)?.n ?? 0))]);
    });
    return () => void (here = false);
  }, [run, stamp]);
  const shown = lines.slice(-SHOWN).reverse();
  return (
    <section>
      <h2>Timeline</h2>
      {!shown.length && <p class="soft">Nothing was recorded yet.</p>}
      <ol class="timeline">
        {shown.map((line) => (
          <li key={line.n} class={line.severity}>
            <time dateTime={new Date(line.at_s * 1000).toISOString()}>{clock(line.at_s)}</time>
            <span class="severity">{line.severity}</span>
            <span>{line.text}</span>
          </li>
        ))}
      </ol>
      {lines.length > SHOWN && <p class="soft">{lines.length - SHOWN} earlier lines are not shown.</p>}
    </section>
  );
}

async function more(run: string, after: number): Promise<TimelineLine[]> {
  const found: TimelineLine[] = [];
  for (let page = 0; page < PAGES; page++) {
    const lines = await api.timeline(run, found.at(-1)?.n ?? after).catch(() => []);
    if (!lines.length) break;
    found.push(...lines);
  }
  return found;
}
