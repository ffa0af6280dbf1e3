// Small pieces that several views show.

import type { ComponentChildren } from "preact";
import type { Status, Tone } from "./status";

const SIGN: Record<Tone, string> = { good: "●", busy: "◐", warn: "▲", bad: "■", quiet: "○" };

/** A state by word, colour and shape. */
export function Pill({ status }: { status: Status }) {
  return (
    <span class={`pill ${status.tone}`} data-field="state">
      <span aria-hidden="true">{SIGN[status.tone]}</span> {status.word}
    </span>
  );
}

export function Term({ name, value, field, tone = "" }: { name: string; value: ComponentChildren; field?: string; tone?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={tone && `${tone}-text`} data-field={field}>{value}</dd>
    </div>
  );
}

/** A table that scrolls by itself where it is too wide, with the keyboard too. */
export function Table({ name, head, children }: { name: string; head: string[]; children: ComponentChildren }) {
  return (
    <div class="wide" tabIndex={0} role="region" aria-label={name}>
      <table>
        <thead>
          <tr>{head.map((one) => <th key={one} scope="col">{one}</th>)}</tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
