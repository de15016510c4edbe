/**
 * Files of variables: `.env`, `--env-file` and `env_file`. Pure.
 *
 * Lines `NAME=value` or `export NAME=value`; `#` begins a comment; single quotes keep the text, in double quotes and without
 * quotes variables are filled in, and quoted values may span lines.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { interpolate } from "./interpolate.ts";

/**
 * The variables of a file in its order; undefined for a name without `=`, which takes the caller's value.
 *
 * @param outer Variables that the file's values may use besides those it has set itself.
 * @throws ClusterError invalid-argument with file and line.
 */
export function readDotenv(
  text: string,
  o: { readonly name: string; readonly outer: (name: string) => string | undefined },
): ReadonlyMap<string, string | undefined> {
  const found = new Map<string, string | undefined>();
  const lookup = (name: string) => o.outer(name) ?? found.get(name);
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  for (let at = 0; at < lines.length; at++) {
    const line = (lines[at] ?? "").trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const fail = (message: string) =>
      new ClusterError("invalid-argument", `${o.name}:${at + 1}: ${message}`);
    const [, name, separator, rest = ""] =
      /^(?:export\s+)?([A-Za-z_][\w.-]*)\s*(=|:\s|$)(.*)$/s.exec(line) ?? [];
    if (name === undefined) throw fail("a line must have the form NAME=value");
    if (separator === "") {
      found.set(name, o.outer(name));
      continue;
    }
    const value = valueFrom(rest.trimStart(), lines, at);
    if (value === undefined) throw fail(`the value of ${name} has no closing quote`);
    at += value.moreLines;
    try {
      found.set(
        name,
        value.isRaw ? value.text : interpolate(value.text, { lookup, missing: () => {} }),
      );
    } catch (error) {
      if (error instanceof ClusterError) throw fail(`${name}: ${error.message}`);
      throw error;
    }
  }
  return found;
}

/** `env_file` of format raw: what follows the first `=` is the value, as it stands. */
export function readRawEnv(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const at = line.indexOf("=");
    if (at > 0 && !line.startsWith("#")) found.set(line.slice(0, at), line.slice(at + 1));
  }
  return found;
}

interface Value {
  readonly text: string;
  readonly isRaw: boolean;
  readonly moreLines: number;
}

function valueFrom(rest: string, lines: readonly string[], at: number): Value | undefined {
  const quote = rest.charAt(0);
  if (quote !== '"' && quote !== "'") {
    const text = rest.startsWith("#") ? "" : rest.replace(/\s+#.*$/, "").trimEnd();
    return { text, isRaw: false, moreLines: 0 };
  }
  let text = rest;
  for (let moreLines = 0; ; moreLines++) {
    const end = closingQuote(text, quote);
    if (end > 0) {
      const body = text.slice(1, end);
      return quote === "'"
        ? { text: body, isRaw: true, moreLines }
        : { text: unescaped(body), isRaw: false, moreLines };
    }
    const next = lines[at + moreLines + 1];
    if (next === undefined) return undefined;
    text += `\n${next}`;
  }
}

function closingQuote(text: string, quote: string): number {
  for (let at = 1; at < text.length; at++) {
    if (text.charAt(at) === "\\" && quote === '"') at++;
    else if (text.charAt(at) === quote) return at;
  }
  return -1;
}

/** `\$` is a dollar that begins no variable. */
function unescaped(text: string): string {
  const meanings: Record<string, string> = {
    n: "\n",
    r: "\r",
    t: "\t",
    $: "$$",
    '"': '"',
    "\\": "\\",
  };
  return text.replace(/\\(.)/gs, (whole, char: string) => meanings[char] ?? whole);
}
