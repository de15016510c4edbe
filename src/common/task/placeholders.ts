/**
 * Placeholders in a task's environment, mounts and hostname, such as `{{.Task.Slot}}` (docker-facts 1.10). Pure.
 *
 * Understands what people write of Go's template language there: fields, `index`, and the functions a payload may call;
 * anything else is refused by name, as a container that gets the braces themselves helps nobody.
 */
import { ClusterError } from "../errors/cluster-error.ts";

/** Values by path: maps of maps with texts at the ends. */
export interface PlaceholderValues {
  readonly [name: string]: string | PlaceholderValues;
}

/** A function that a template may call with texts. @throws ClusterError invalid-argument */
export type PlaceholderFunction = (...args: readonly string[]) => string;

/** What a text is expanded with. */
export interface PlaceholderContext {
  readonly values: PlaceholderValues;
  readonly functions: Readonly<Record<string, PlaceholderFunction>>;
}

/** The text with its placeholders filled in. @throws ClusterError invalid-argument naming the placeholder. */
export function expand(text: string, context: PlaceholderContext): string {
  if (!text.includes("{{")) return text;
  let out = "";
  let rest = text;
  for (;;) {
    const begin = rest.indexOf("{{");
    if (begin < 0) return out + rest;
    const end = rest.indexOf("}}", begin);
    if (end < 0) throw notFilled(rest.slice(begin), "it is not closed by }}");
    let before = rest.slice(0, begin);
    let action = rest.slice(begin + 2, end);
    let after = rest.slice(end + 2);
    if (/^-\s/.test(action)) [before, action] = [before.trimEnd(), action.slice(1)];
    if (/\s-$/.test(action)) [action, after] = [action.slice(0, -1), after.trimStart()];
    out += before + evaluate(action.trim(), context);
    rest = after;
  }
}

function evaluate(action: string, context: PlaceholderContext): string {
  // A comment of the template language.
  if (/^\/\*.*\*\/$/s.test(action)) return "";
  const words = wordsOf(action);
  const [first = "", ...others] = words;
  if (first === "") throw refused(action, "it is empty");
  if (first === "index") return textOf(indexed(others, action, context), action);
  const call = context.functions[first];
  if (call !== undefined) {
    return call(...others.map((word) => textOf(meaningOf(word, action, context), action)));
  }
  if (others.length > 0) throw refused(action, "only fields and index are known here");
  return textOf(meaningOf(first, action, context), action);
}

function indexed(words: readonly string[], action: string, context: PlaceholderContext) {
  const [map = "", ...keys] = words;
  let value = meaningOf(map, action, context);
  for (const key of keys) {
    const name = textOf(meaningOf(key, action, context), action);
    // As in Go: a key that a map of labels lacks gives the empty text.
    value = typeof value === "string" ? "" : own(value, name) || "";
  }
  return value;
}

function meaningOf(
  word: string,
  action: string,
  { values }: PlaceholderContext,
): string | PlaceholderValues {
  const quoted = /^"((?:[^"\\]|\\.)*)"$|^`([^`]*)`$/s.exec(word);
  if (quoted !== null) return quoted[2] ?? (quoted[1] ?? "").replace(/\\(.)/gs, "$1");
  if (!/^(?:\.[A-Za-z_][\w]*)+$/.test(word)) throw refused(action, `${word} is not known`);
  let value: string | PlaceholderValues = values;
  for (const name of word.slice(1).split(".")) {
    const next: string | PlaceholderValues | undefined =
      typeof value === "string" ? undefined : own(value, name);
    if (next === undefined) throw refused(action, `there is no ${word}`);
    value = next;
  }
  return value;
}

function own(values: PlaceholderValues, name: string): string | PlaceholderValues | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

function textOf(value: string | PlaceholderValues, action: string): string {
  if (typeof value === "string") return value;
  throw refused(action, "name a field of it");
}

/** Words of an action; quoted ones stay whole. */
function wordsOf(action: string): string[] {
  return action.match(/"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s]+/gs) ?? [];
}

function refused(action: string, why: string): ClusterError {
  return notFilled(`{{${action}}}`, why);
}

function notFilled(placeholder: string, why: string): ClusterError {
  return new ClusterError(
    "invalid-argument",
    `placeholder ${placeholder} cannot be filled in: ${why}`,
  );
}
