// One stream of events for all tabs of a browser: whoever holds the lock reads it and passes it on.
// A browser opens six connections to a host; a stream in each tab would block the seventh tab.

import * as api from "./api";
import { EventParser, type ServerEvent } from "./sse";

export type Link = "live" | "polling" | "lost" | "refused";

const NAME = "trainwarden-events";
const ASKED = "how is it?"; // by a tab that came later
const POLL_MS = 2_000;
const AGAIN_MS = 2_000;
const SILENT_MS = 40_000; // the daemon sends a comment every 15 s
const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export interface Listener {
  event(one: ServerEvent): void;
  link(state: Link): void;
}

export function follow(listener: Listener): void {
  if (!("locks" in navigator) || typeof BroadcastChannel === "undefined") {
    void poll(listener, () => true);
    return;
  }
  const channel = new BroadcastChannel(NAME);
  let heard = Date.now();
  let leads = false;
  const state = { link: "lost" as Link };
  channel.onmessage = ({ data }: MessageEvent<ServerEvent | Link | typeof ASKED>) => {
    if (data === ASKED) {
      if (leads) channel.postMessage(state.link);
      return;
    }
    heard = Date.now();
    if (typeof data === "string") listener.link(data);
    else listener.event(data);
  };
  void navigator.locks.request(NAME, async () => {
    leads = true;
    await lead(listener, channel, state);
  });
  channel.postMessage(ASKED);
  void poll(listener, () => !leads && Date.now() - heard > SILENT_MS);
}

/** Read the stream for ever, here and for the other tabs. */
async function lead(listener: Listener, channel: BroadcastChannel, state: { link: Link }): Promise<void> {
  const both = (what: ServerEvent | Link): void => {
    if (typeof what === "string") state.link = what;
    channel.postMessage(what);
    if (typeof what === "string") listener.link(what);
    else listener.event(what);
  };
  for (;;) {
    try {
      await read(both);
    } catch (error) {
      const refused = error instanceof api.Refused && error.status === 401;
      both(refused ? "refused" : "lost");
    }
    await wait(AGAIN_MS);
  }
}

async function read(both: (what: ServerEvent | Link) => void): Promise<void> {
  const parser = new EventParser();
  const silence = new AbortController();
  let timer = 0;
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENT_MS) as unknown as number;
  };
  heard();
  try {
    await api.events(silence.signal, (chunk) => {
      heard();
      both("live");
      parser.take(chunk).forEach(both);
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Where no stream can be shared, ask again and again; not while the tab is hidden. */
async function poll(listener: Listener, needed: () => boolean): Promise<void> {
  for (;;) {
    if (needed() && !document.hidden) {
      try {
        for (const run of await api.overview()) listener.event({ event: "run", data: run });
        listener.link("polling");
      } catch (error) {
        listener.link(error instanceof api.Refused && error.status === 401 ? "refused" : "lost");
      }
    }
    await wait(POLL_MS);
  }
}
