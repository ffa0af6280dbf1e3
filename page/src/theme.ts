// Colours for what is drawn on a canvas: those of the style sheet, as they are now.

export const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const COLOURS = 8;
export const colour = (i: number): string => css(`--c${i % COLOURS}`);

/** Call when light turns to dark or back. */
export function onTheme(act: () => void): () => void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", act);
  return () => dark.removeEventListener("change", act);
}
