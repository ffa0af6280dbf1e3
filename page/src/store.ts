// What every view reads: the runs at a glance, kept up to date by events.

import { useEffect, useState } from "preact/hooks";
import * as api from "./api";
import { follow, type Link } from "./live";
import type { Glance } from "./types";

export const state = {
  runs: new Map<string, Glance>(),
  loaded: false,
  link: "lost" as Link,
  problem: "",
  mayChange: false,
};

const listeners = new Set<() => void>();

function changed(): void {
  for (const one of listeners) one();
}

/** Draw again whenever something arrives. */
export function useStore(): typeof state {
  const [, set] = useState(0);
  useEffect(() => {
    const listener = (): void => set((n) => n + 1);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return state;
}

export async function load(): Promise<void> {
  try {
    const runs = await api.overview();
    state.runs = new Map(runs.map((run) => [run.summary.run, run]));
    state.problem = "";
    state.loaded = true;
    if (state.link !== "live") state.link = "polling";
    state.mayChange = await api.mayChange();
  } catch (error) {
    state.link = error instanceof api.Refused && error.status === 401 ? "refused" : "lost";
    state.problem = String(error instanceof Error ? error.message : error);
  }
  changed();
}

export function start(): void {
  void load();
  follow({
    event: ({ event, data }) => {
      if (event === "run") {
        const glance = data as Glance;
        state.runs.set(glance.summary.run, glance);
        state.loaded = true;
      } else if (event === "gone") {
        state.runs.delete((data as { run: string }).run);
      } else if (event === "all") {
        state.loaded = true;
      }
      changed();
    },
    link: (link) => {
      if (state.link === link) return;
      state.link = link;
      changed();
    },
  });
}
