// What an operator can do, each behind a question and the token.

import { useRef, useState } from "preact/hooks";
import * as api from "./api";
import { state } from "./store";
import type { Command, Glance, Incident } from "./types";

interface Action {
  name: string;
  question: string;
  warns: boolean;
  act: () => Promise<void>;
  done: string;
}

const SILENT_HOURS = 8;

function actionsOf({ summary }: Glance, incident: Incident | null): Action[] {
  const { run } = summary;
  const order = (kind: Command, name: string, question: string): Action => ({
    name, question, warns: kind !== "adjust", act: () => api.order(run, kind), done: `${name}: the daemon took the order.`,
  });
  const found: Action[] = [];
  if (!summary.live) return found;
  if (incident?.live)
    found.push({
      name: "Acknowledge", warns: false, done: "Acknowledged.", act: () => api.acknowledge(incident.id),
      question: "No more reminders of this incident are sent. Nothing changes for the training.",
    });
  found.push({
    name: `Silence for ${SILENT_HOURS} h`, warns: false, done: "Silenced.", act: () => api.silence(run, SILENT_HOURS * 3600),
    question: `No alert of this run is sent for ${SILENT_HOURS} hours. Nothing changes for the training.`,
  });
  if (summary.act && !incident?.live)
    found.push(order("adjust", "Adjust", "The training continues with the safer settings of its policy, such as half the learning rate. No batch is lost."));
  found.push(
      order("rollback", "Roll back", "The training goes back to its newest clean state and continues with strengthened settings. Batches since then are lost."),
      order("stop", "Stop", "The training stops at the next batch and is not started again. Checkpoints stay."),
    );
  return found;
}

export function Actions({ glance, incident }: { glance: Glance; incident: Incident | null }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [asked, ask] = useState<Action | null>(null);
  const [answer, setAnswer] = useState({ text: "", bad: false });
  const open = (action: Action): void => {
    ask(action);
    setAnswer({ text: "", bad: false });
    dialog.current?.showModal();
  };
  const act = async (): Promise<void> => {
    dialog.current?.close();
    if (!asked) return;
    try {
      await asked.act();
      setAnswer({ text: asked.done, bad: false });
    } catch (error) {
      setAnswer({ text: `${asked.name}: ${error instanceof Error ? error.message : String(error)}`, bad: true });
    }
  };
  if (!state.mayChange) return null;
  return (
    <div class="actions">
      {actionsOf(glance, incident).map((action) => (
        <button key={action.name} type="button" class={action.warns ? "danger" : ""} onClick={() => open(action)}>
          {action.name}
        </button>
      ))}
      <p role="status" class={answer.bad ? "bad-text" : ""}>{answer.text}</p>
      <dialog ref={dialog} aria-labelledby="question-title">
        <h2 id="question-title">{asked?.name}</h2>
        <p>{asked?.question}</p>
        <p class="soft">Run {glance.summary.title || glance.summary.run}</p>
        <div class="choices">
          <button type="button" onClick={() => dialog.current?.close()}>Cancel</button>
          <button type="button" class={asked?.warns ? "danger" : "primary"} onClick={() => void act()}>{asked?.name}</button>
        </div>
      </dialog>
    </div>
  );
}
