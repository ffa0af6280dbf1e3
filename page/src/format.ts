// How numbers, durations and times are written. Pure.

export const count = (value: number): string => value.toLocaleString("en");

/** Where a state was saved, in a column of epochs: 3, or 4, batch 120. */
export const saved = ({ epoch, extra_batches: extra }: { epoch: number; extra_batches: number }): string =>
  extra ? `${epoch + 1}, batch ${count(extra)}` : String(epoch);

/** 4 digits; a dash: not known. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const gib = value / 2 ** 30;
  return gib >= 0.1 ? `${gib.toFixed(2)} GiB` : `${(value / 2 ** 20).toFixed(0)} MiB`;
}

export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export const seconds = (value: number): string => (value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`);

export function clock(at_s: number): string {
  const at = new Date(at_s * 1000);
  const pad = (n: number): string => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}`;
}

export const plural = (n: number, noun: string): string =>
  `${count(n)} ${noun}${n === 1 ? "" : /(ch|s)$/.test(noun) ? "es" : "s"}`;

export function percent(share: number): string {
  return `${Number((100 * share).toPrecision(2))} %`;
}
