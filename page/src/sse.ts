// Server-sent events out of the pieces of a stream. Pure.

export interface ServerEvent {
  event: string;
  data: unknown;
}

/** Takes pieces of text, gives the events that are whole. A comment gives nothing. */
export class EventParser {
  private rest = "";

  take(chunk: string): ServerEvent[] {
    const blocks = (this.rest + chunk).split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.map(parsed).filter((one) => one !== null);
  }
}

function parsed(block: string): ServerEvent | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
