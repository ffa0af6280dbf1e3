// Every request to the daemon goes through this file.

import type {
  ChartColumns, Checkpoint, Command, Glance, Incident, RunDetail, TimelineLine, TrainingDetail,
} from "./types";

const BASE = "/api/v1";
const TOKEN = "trainwarden-token";
const ANSWER_MS = 15_000;

export class Refused extends Error {
  constructor(readonly status: number, sentence: string) {
    super(sentence);
  }
}

let token = "";

/** The token of a link (`#token=...`) is kept for this origin, and leaves the address at once. */
export function takeToken(): void {
  const found = /^#token=([A-Za-z0-9._~-]+)/.exec(location.hash);
  if (found?.[1]) {
    setToken(found[1]);
    history.replaceState(null, "", location.pathname);
  } else {
    token = kept(() => localStorage.getItem(TOKEN)) ?? "";
  }
}

export function setToken(given: string): void {
  token = given;
  kept(() => (given ? localStorage.setItem(TOKEN, given) : localStorage.removeItem(TOKEN)));
}

export const hasToken = (): boolean => token !== "";

/** A browser may forbid storage: then the token lasts as long as the tab. */
function kept<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    return null;
  }
}

async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (token) headers.set("authorization", `Bearer ${token}`);
  const answer = await fetch(BASE + path, { signal: AbortSignal.timeout(ANSWER_MS), ...options, headers });
  if (!answer.ok) throw new Refused(answer.status, await sentence(answer));
  return answer;
}

async function sentence(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return String((JSON.parse(text) as { detail?: string }).detail ?? text);
  } catch {
    return text || `the daemon answered ${answer.status}`;
  }
}

async function json<T>(path: string): Promise<T> {
  return (await ask(path)).json() as Promise<T>;
}

async function send(path: string, body: unknown): Promise<void> {
  await ask(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
}

const of = (run: string): string => `/runs/${encodeURIComponent(run)}`;

export const overview = (): Promise<Glance[]> => json("/overview");
export const detail = (run: string): Promise<RunDetail> => json(of(run));
export const checkpoints = (run: string): Promise<Checkpoint[]> => json(`${of(run)}/checkpoints`);
export const incidents = (run: string): Promise<Incident[]> => json(`${of(run)}/incidents`);
export const timeline = (run: string, after: number): Promise<TimelineLine[]> =>
  json(`${of(run)}/timeline?after=${after}`);
export const training = (run: string, number: number): Promise<TrainingDetail> =>
  json(`${of(run)}/trainings/${number}`);
export const report = async (run: string, incident: number): Promise<string> =>
  (await ask(`${of(run)}/report?incident=${incident}`)).text();

export interface Asked {
  training: number;
  points: number;
  generation?: number;
  first?: number;
  last?: number;
  signals?: string;
}

export function chart(run: string, asked: Asked): Promise<ChartColumns> {
  const query = new URLSearchParams(Object.entries(asked).map(([name, value]) => [name, String(value)]));
  return json(`${of(run)}/chart?${query}`);
}

const BY = "the page"; // what the timeline calls whoever uses it

/** Whether who asks may change something, or only look. */
export const mayChange = async (): Promise<boolean> => (await json<{ may_change: boolean }>("/access")).may_change;
export const order = (run: string, kind: Command): Promise<void> => send(`${of(run)}/orders`, { kind, by: BY });
export const acknowledge = (incident: string): Promise<void> =>
  send(`/incidents/${encodeURIComponent(incident)}/acknowledge`, { by: BY });
export const silence = (run: string, for_s: number): Promise<void> =>
  send("/silences", { match: [`run=${run}`], for_s, by: BY });

/** The stream of events, as it comes; it returns when the daemon ends it, and throws where it breaks. */
export async function events(signal: AbortSignal, take: (chunk: string) => void): Promise<void> {
  const answer = await ask("/events", { signal, headers: { accept: "text/event-stream" }, cache: "no-store" });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    take(value);
  }
}
