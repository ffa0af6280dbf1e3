// A value of the API that is asked again when something changed, and not too often.

import { useEffect, useRef, useState } from "preact/hooks";

const NICE = 10; // times what the last answer took: the daemon is busy with others for most of the time

/** `key`: which value it is; `stamp`: asked again when it changes, at most every `everyMs`. */
export function useFresh<T>(ask: () => Promise<T>, key: string, stamp: string, everyMs: number): [T | null, string] {
  const [found, set] = useState<{ key: string; value: T } | null>(null);
  const [problem, setProblem] = useState("");
  const now = useRef({ key: "", stamp: "", busy: false, at: 0, took: 0, timer: 0 });
  const latest = useRef({ ask, key, stamp });
  latest.current = { ask, key, stamp };
  const go = useRef(async (): Promise<void> => undefined);

  useEffect(() => {
    const mine = now.current;
    go.current = async () => {
      const wanted = latest.current;
      if (mine.busy || (mine.key === wanted.key && mine.stamp === wanted.stamp)) return;
      if (document.hidden) return; // nobody looks
      const pause = mine.key === wanted.key ? mine.at + Math.max(everyMs, NICE * mine.took) - Date.now() : 0;
      if (pause > 0) {
        clearTimeout(mine.timer);
        mine.timer = setTimeout(() => void go.current(), pause) as unknown as number;
        return;
      }
      Object.assign(mine, { busy: true, at: Date.now(), key: wanted.key, stamp: wanted.stamp });
      try {
        const value = await wanted.ask();
        if (latest.current.key === wanted.key) set({ key: wanted.key, value });
        setProblem("");
      } catch (error) {
        setProblem(error instanceof Error ? error.message : String(error));
      }
      Object.assign(mine, { busy: false, took: Date.now() - mine.at });
      void go.current();
    };
    void go.current();
  }, [key, stamp]);
  useEffect(() => {
    const looks = (): void => void go.current();
    document.addEventListener("visibilitychange", looks);
    return () => {
      document.removeEventListener("visibilitychange", looks);
      clearTimeout(now.current.timer);
    };
  }, []);
  return [found && found.key === key ? found.value : null, problem];
}
