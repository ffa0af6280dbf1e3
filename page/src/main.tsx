// The page: its frame, and which view stands in it.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./page.css";
import { hasToken, setToken, takeToken } from "./api";
import { IncidentView } from "./IncidentView";
import type { Link } from "./live";
import { Overview } from "./Overview";
import { useRoute } from "./route";
import { RunView } from "./RunView";
import { load, start, useStore } from "./store";

const LINK: Record<Link, string> = {
  live: "live",
  polling: "updated every 2 s",
  lost: "no connection to the daemon",
  refused: "no access",
};

function App() {
  const { link, problem } = useStore();
  const place = useRoute();
  const now_s = useClock();
  useEffect(() => {
    document.title = place ? `${place.run} · trainwarden` : "trainwarden";
  }, [place?.run]);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>Skip to the content</a>
      <header>
        <a class="brand" href="#/">trainwarden</a>
        {place && <nav aria-label="Back"><a href="#/">All runs</a></nav>}
        <span class={`link ${link}`} role="status">{LINK[link]}</span>
      </header>
      {link === "refused" ? <Access problem={problem} /> : place === null ? <Overview now_s={now_s} /> : place.incident ? <IncidentView key={location.hash} {...place} /> : <RunView key={location.hash} {...place} now_s={now_s} />}
    </>
  );
}

/** A link to #main would be taken for a view. */
function skip(event: Event): void {
  event.preventDefault();
  const main = document.getElementById("main");
  main?.setAttribute("tabindex", "-1");
  main?.focus();
}

function useClock(): number {
  const [now_s, set] = useState(Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => set(Date.now() / 1000), 15_000);
    return () => clearInterval(timer);
  }, []);
  return now_s;
}

function Access({ problem }: { problem: string }) {
  const [text, set] = useState("");
  const enter = (event: Event): void => {
    event.preventDefault();
    setToken(text.trim());
    void load();
  };
  return (
    <main id="main" class="narrow">
      <h1>This page needs a link or a token</h1>
      <p>
        The daemon shows runs only to its own user. Run <code>trainwarden page</code> on its machine and open the link that it
        prints; with <code>--view-only</code> the link is for a phone. Or paste a token: the text of <code>api.token</code> in the
        daemon's runtime folder.
      </p>
      {hasToken() && problem && <p role="alert" class="bad-text">The daemon refused the token that this browser keeps.</p>}
      <form onSubmit={enter}>
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="off" value={text} onInput={(event) => set(event.currentTarget.value)} />
        <button type="submit" disabled={!text.trim()}>Open</button>
      </form>
    </main>
  );
}

takeToken();
render(<App />, document.getElementById("page")!);
start();
