// The report's Markdown as elements. Text stays text: no HTML, link or picture of it is ever made.

import { lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren } from "preact";

export function Markdown({ text }: { text: string }) {
  return <>{blocks(lexer(text))}</>;
}

const blocks = (tokens: Token[]): ComponentChildren => tokens.map((token, i) => <Block key={i} token={token} />);

function Block({ token }: { token: Token }) {
  switch (token.type) {
    case "heading": {
      const Head = `h${(token as Tokens.Heading).depth}` as "h2";
      return <Head>{inline(token.tokens)}</Head>;
    }
    case "paragraph":
      return <p>{inline(token.tokens)}</p>;
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item, i) => <li key={i}>{blocks(item.tokens)}</li>);
      return list.ordered ? <ol>{items}</ol> : <ul>{items}</ul>;
    }
    case "table":
      return <Table table={token as Tokens.Table} />;
    case "code":
      return <pre tabIndex={0}>{(token as Tokens.Code).text}</pre>;
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens)}</blockquote>;
    case "hr":
      return <hr />;
    case "space":
      return null;
    case "text":
      return <>{token.tokens ? inline(token.tokens) : plain(token)}</>;
    default:
      return <p>{token.raw}</p>;
  }
}

function Table({ table }: { table: Tokens.Table }) {
  return (
    <div class="wide" tabIndex={0} role="region" aria-label="table">
      <table>
        <thead>
          <tr>{table.header.map((cell, i) => <th key={i} scope="col">{inline(cell.tokens)}</th>)}</tr>
        </thead>
        <tbody>
          {table.rows.map((row, i) => (
            <tr key={i}>{row.map((cell, j) => <td key={j}>{inline(cell.tokens)}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(tokens: Token[] | undefined): ComponentChildren {
  return (tokens ?? []).map((token, i) => {
    switch (token.type) {
      case "strong":
        return <strong key={i}>{inline(token.tokens)}</strong>;
      case "em":
        return <em key={i}>{inline(token.tokens)}</em>;
      case "codespan":
        return <code key={i}>{plain(token)}</code>;
      case "br":
        return <br key={i} />;
      case "text":
      case "escape":
        return plain(token);
      default:
        return token.raw; // html, links, pictures
    }
  });
}

/** The lexer leaves entities as they are written. */
function plain(token: Token): string {
  const text = "text" in token ? String(token.text) : token.raw;
  return text.replace(/&(lt|gt|amp|quot|#39|nbsp);/g, (_, name: string) => ENTITIES[name] ?? "");
}

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', "#39": "'", nbsp: "\u00a0" };
