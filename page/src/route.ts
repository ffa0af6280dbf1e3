// Where the reader is: #/run/<run>/<training>[/incident/<number>]. Pure, but for the listener.

import { useEffect, useState } from "preact/hooks";

export interface Place {
  run: string;
  training: number;
  incident: number;
}

export const to = (run: string, training: number, incident = 0): string =>
  `#/run/${encodeURIComponent(run)}/${training}${incident ? `/incident/${incident}` : ""}`;

/** null: the first screen. */
export function parsed(hash: string): Place | null {
  const found = /^#\/run\/([^/]+)\/(\d+)(?:\/incident\/(\d+))?$/.exec(hash);
  if (!found) return null;
  try {
    return { run: decodeURIComponent(found[1]!), training: Number(found[2]), incident: Number(found[3] ?? 0) };
  } catch {
    return null;
  }
}

export function useRoute(): Place | null {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const moved = (): void => {
      set(location.hash);
      scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return parsed(hash);
}
