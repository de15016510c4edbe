/**
 * Variables in the values of a Compose file: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`,
 * `${NAME?message}`, `${NAME:+other}`, `${NAME+other}`, nested to any use, and `$$` for a dollar. Pure.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { composeNestingMax, composeTextMax } from "../common/limits/stack.ts";
import { type Node, type Place, refusal } from "./node.ts";

/** Where values come from, and who hears of those that are missing. */
export interface Variables {
  readonly lookup: (name: string) => string | undefined;
  /** Called for a variable without value and default, which stands for nothing. */
  readonly missing: (name: string) => void;
}

/** The variables of a file. */
export interface FileVariables {
  readonly lookup: (name: string) => string | undefined;
  readonly missing: (name: string, place: Place) => void;
}

/** Fills in every value of a file; keys stay. @throws ClusterError invalid-argument with the place. */
export function interpolateNode(node: Node, variables: FileVariables, path = ""): Node {
  switch (node.kind) {
    case "scalar": {
      if (!node.text.includes("$")) return node;
      const missing = (name: string) => variables.missing(name, node.place);
      const text = filled(node.text, { lookup: variables.lookup, missing }, node.place, path);
      return { ...node, text, isFilled: true };
    }
    case "list":
      return {
        ...node,
        items: node.items.map((item, i) => interpolateNode(item, variables, `${path}[${i}]`)),
      };
    case "map": {
      const entries = [...node.entries].map(([key, entry]) => {
        const below = path === "" ? key : `${path}.${key}`;
        return [key, { ...entry, value: interpolateNode(entry.value, variables, below) }] as const;
      });
      return { ...node, entries: new Map(entries) };
    }
  }
}

function filled(text: string, variables: Variables, place: Place, path: string): string {
  try {
    return interpolate(text, variables);
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    throw refusal(place, `${path === "" ? "" : `${path}: `}${error.message}`);
  }
}

/** One text. @throws ClusterError invalid-argument for a form that is not known, or with the message of `:?`. */
export function interpolate(text: string, variables: Variables): string {
  return new Template(text, variables).all();
}

const nameStart = /[A-Za-z_]/;
const namePattern = /[A-Za-z_][A-Za-z0-9_]*/y;

class Template {
  readonly #text: string;
  readonly #variables: Variables;
  #at = 0;

  constructor(text: string, variables: Variables) {
    this.#text = text;
    this.#variables = variables;
  }

  all(): string {
    return this.#until(false, 0, true);
  }

  /** Up to the end, or to the brace that closes. @param isUsed False for a branch not taken: its variables are not asked for. */
  #until(inBraces: boolean, depth: number, isUsed: boolean): string {
    if (depth > composeNestingMax) throw this.#invalid();
    let out = "";
    while (this.#at < this.#text.length) {
      const char = this.#text.charAt(this.#at);
      if (inBraces && char === "}") return out;
      this.#at++;
      out += char === "$" ? this.#variable(inBraces, depth, isUsed) : char;
      if (out.length > composeTextMax)
        throw new ClusterError(
          "invalid-argument",
          `variables come to more than ${composeTextMax} characters`,
        );
    }
    if (inBraces) throw this.#invalid();
    return out;
  }

  #variable(inBraces: boolean, depth: number, isUsed: boolean): string {
    const next = this.#text.charAt(this.#at);
    if (next === "$") {
      this.#at++;
      return "$";
    }
    if (next === "{") {
      this.#at++;
      return this.#braced(depth, isUsed);
    }
    // A dollar at the end of a default, or before a space, is refused as everywhere else.
    if (!nameStart.test(next) || (inBraces && next === "}")) throw this.#invalid();
    return this.#plain(this.#name(), isUsed);
  }

  #braced(depth: number, isUsed: boolean): string {
    const name = this.#name();
    const [operator = ""] = /^(:?[-?+])?/.exec(this.#text.slice(this.#at, this.#at + 2)) ?? [];
    this.#at += operator.length;
    const value = isUsed ? this.#variables.lookup(name) : "";
    const isGood = value !== undefined && (value !== "" || !operator.startsWith(":"));
    const takesWord = operator.endsWith("+") ? isGood : !isGood;
    const word = operator === "" ? "" : this.#until(true, depth + 1, isUsed && takesWord);
    if (this.#text.charAt(this.#at) !== "}") throw this.#invalid();
    this.#at++;
    if (!isUsed) return "";
    if (operator === "") return this.#plain(name, isUsed);
    if (operator.endsWith("+")) return isGood ? word : "";
    if (isGood) return value ?? "";
    if (operator.endsWith("-")) return word;
    throw new ClusterError(
      "invalid-argument",
      `required variable ${name} is missing a value${word === "" ? "" : `: ${word}`}`,
    );
  }

  #plain(name: string, isUsed: boolean): string {
    const value = isUsed ? this.#variables.lookup(name) : "";
    if (value === undefined) this.#variables.missing(name);
    return value ?? "";
  }

  #name(): string {
    namePattern.lastIndex = this.#at;
    const [name] = namePattern.exec(this.#text) ?? [];
    if (name === undefined) throw this.#invalid();
    this.#at += name.length;
    return name;
  }

  #invalid(): ClusterError {
    const shown = this.#text.length > 80 ? `${this.#text.slice(0, 80)}…` : this.#text;
    return new ClusterError(
      "invalid-argument",
      `invalid interpolation format: ${JSON.stringify(shown)}; you may need to escape any $ with another $`,
    );
  }
}
