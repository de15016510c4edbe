/**
 * What a scalar means where a number, a truth or a text is wanted. Pure.
 *
 * As with Compose, a quoted `"3"` is taken for a number where one is wanted, and what variables were filled into is taken for
 * whatever is wanted.
 */
import type { ScalarNode } from "./node.ts";

/** What a plain scalar is without regard to its key. */
export type ScalarType = "nothing" | "bool" | "number" | "text";

/** The type a reader of YAML would give it. */
export function typeOf({ text, isPlain }: ScalarNode): ScalarType {
  if (!isPlain) return "text";
  if (/^(~|null|Null|NULL|)$/.test(text)) return "nothing";
  if (/^(true|True|TRUE|false|False|FALSE)$/.test(text)) return "bool";
  return numberOf(text) === undefined ? "text" : "number";
}

/** A number as YAML writes it: decimal, `0x1f`, `0o17`, `0440` (octal, as Go reads it), `0b1`, `1_000`, `1e3`, `.5`. */
export function numberOf(text: string): number | undefined {
  const plain = text.replace(/(?<=[\da-fA-F])_(?=[\da-fA-F])/g, "");
  const [, sign = "", digits = ""] = /^([-+]?)(.*)$/s.exec(plain) ?? [];
  const factor = sign === "-" ? -1 : 1;
  for (const [form, base] of [
    [/^0x([\da-fA-F]+)$/, 16],
    [/^0o?([0-7]+)$/, 8],
    [/^0b([01]+)$/, 2],
  ] as const) {
    const [, body] = form.exec(digits) ?? [];
    if (body !== undefined) return factor * Number.parseInt(body, base);
  }
  if (!/^(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/.test(digits)) return undefined;
  const value = factor * Number(digits);
  return Number.isFinite(value) ? value : undefined;
}

/** True or false as YAML 1.1 writes them, too; undefined for anything else. */
export function truthOf(text: string): boolean | undefined {
  const word = text.toLowerCase();
  if (["true", "yes", "on", "y", "1"].includes(word)) return true;
  return ["false", "no", "off", "n", "0"].includes(word) ? false : undefined;
}
