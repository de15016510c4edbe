/**
 * Reads files of scripted cases: a command with arguments, optional input lines, `----`, and the expected output up to a
 * blank line. Lines that start with `#` are prose.
 */
import { readFileSync } from "node:fs";

/** An argument `key` or `key=value` or `key=(value, value)`. */
export interface CaseArg {
  readonly key: string;
  readonly values: readonly string[];
}

/** One case of a file. */
export interface Case {
  /** Line of the command, from 1. */
  readonly line: number;
  readonly command: string;
  readonly args: readonly CaseArg[];
  /** Lines between command and `----`. */
  readonly input: string;
  /** Lines after `----`, each ended by a line feed. */
  readonly expected: string;
  /** Index in the file's lines of the first line of `expected`, and one past its last. */
  readonly expectedRange: readonly [number, number];
}

/** All cases of the file at `path`, in order. @throws Error when a command has no `----`. */
export function readCases(path: string): Case[] {
  const lines = readFileSync(path, "utf8").split("\n");
  const cases: Case[] = [];
  for (let at = 0; at < lines.length; at++) {
    const text = lines[at] ?? "";
    if (text.trim() === "" || text.startsWith("#")) continue;
    const mark = lines.indexOf("----", at);
    if (mark < 0) throw new Error(`${path}:${at + 1}: a command without ----`);
    let end = mark + 1;
    while (end < lines.length && lines[end] !== "") end++;
    const expected = lines.slice(mark + 1, end);
    cases.push({
      line: at + 1,
      ...parseCommand(text),
      input: lines.slice(at + 1, mark).join("\n"),
      expected: expected.map((line) => `${line}\n`).join(""),
      expectedRange: [mark + 1, end],
    });
    at = end;
  }
  return cases;
}

/** The only value of argument `key`, if given. */
export function argValue(one: Case, key: string): string | undefined {
  return one.args.find((arg) => arg.key === key)?.values[0];
}

/** The bare numbers among the arguments: usually member ids. */
export function bareNumbers(one: Case): number[] {
  return one.args.filter((arg) => arg.values.length === 0).map((arg) => Number(arg.key));
}

function parseCommand(text: string): { command: string; args: CaseArg[] } {
  const [command = "", ...words] = text.match(/[^\s=()]+(?:=(?:\([^)]*\)|\S*))?/g) ?? [];
  return { command, args: words.map(parseArg) };
}

function parseArg(word: string): CaseArg {
  const at = word.indexOf("=");
  if (at < 0) return { key: word, values: [] };
  const inner = word.slice(at + 1).replace(/^\(|\)$/g, "");
  return { key: word.slice(0, at), values: inner.split(/[\s,]+/).filter((one) => one !== "") };
}
