/**
 * The words the table of keys is written in: each says what a value may be, and turns it into the one form the rest works
 * with. Pure.
 *
 * Whatever does not fit is refused with file, line and column, in Docker's words where it has some.
 */
import {
  isNothing,
  type MapNode,
  type Node,
  type Place,
  refusal,
  type ScalarNode,
} from "./node.ts";
import { numberOf, truthOf, typeOf } from "./scalar.ts";
import { bytesFrom, durationFrom, durationText } from "./units.ts";

/** What reading leaves behind besides values. */
export interface Reading {
  readonly warn: (place: Place, text: string) => void;
  /** Where the value of a path stands. */
  readonly places: Map<string, Place>;
  /** An absolute path from one that a file says. */
  readonly resolve: (folder: string, path: string) => string;
}

/** Where in the tree a value is. */
export interface Spot {
  /** `services.web.image`. */
  readonly path: string;
  readonly reading: Reading;
}

/** Reads a value. @throws ClusterError invalid-argument with the place. */
export interface Shape {
  (node: Node, spot: Spot): unknown;
  /** Why the key has no effect here, where it has none. */
  readonly ignored?: string;
}

/** What may stand in a map, by key. */
export type Table = Readonly<Record<string, Shape>>;

function wrong(node: Node, spot: Spot, what: string): never {
  throw refusal(node.place, `${spot.path} must be ${what}`);
}

function scalar(node: Node, spot: Spot, what: string): ScalarNode {
  return node.kind === "scalar" ? node : wrong(node, spot, what);
}

/** A text; a number without quotes is none. */
export const text: Shape = (node, spot) => {
  const found = scalar(node, spot, "a string");
  if (!found.isFilled && typeOf(found) !== "text") wrong(node, spot, "a string");
  return found.text;
};

/** A text, for which a number or truth is taken as it is written. */
export const anyText: Shape = (node, spot) => {
  const found = scalar(node, spot, "a string or number");
  return isNothing(node) && !found.isFilled ? wrong(node, spot, "a string or number") : found.text;
};

/** Text or nothing. */
export const textOrNothing: Shape = (node, spot) => {
  const found = scalar(node, spot, "a string, number or null");
  return isNothing(found) && !found.isFilled ? null : found.text;
};

/** `true` or `false`. */
export const truth: Shape = (node, spot) => {
  const found = scalar(node, spot, "a boolean");
  const loose = found.isFilled || !found.isPlain;
  const value =
    typeOf(found) === "bool" || loose || found.isPlain ? truthOf(found.text) : undefined;
  const isNumber = typeOf(found) === "number" && !loose;
  return value === undefined || isNumber ? wrong(node, spot, "a boolean") : value;
};

/** Any number. */
export const decimal: Shape = (node, spot) =>
  numberOf(scalar(node, spot, "a number").text.trim()) ?? wrong(node, spot, "a number");

/** A whole number within bounds, both included. */
export function integer(min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): Shape {
  return (node, spot) => {
    const value = numberOf(scalar(node, spot, "an integer").text.trim());
    if (value === undefined || !Number.isInteger(value)) return wrong(node, spot, "an integer");
    if (value < min) return wrong(node, spot, `at least ${min}`);
    return value > max ? wrong(node, spot, `at most ${max}`) : value;
  };
}

/** `50M`, `1gb`, `1024`; comes out as bytes. */
export const bytes: Shape = (node, spot) =>
  bytesFrom(scalar(node, spot, "a size").text) ?? wrong(node, spot, "a size such as 50M");

/** As bytes, or -1 for no limit. */
export const bytesOrNoLimit: Shape = (node, spot) =>
  node.kind === "scalar" && node.text === "-1" ? -1 : bytes(node, spot);

/** `1m30s`; comes out in one spelling. */
export const duration: Shape = (node, spot) => {
  const ns = durationFrom(scalar(node, spot, "a duration").text);
  return ns === undefined ? wrong(node, spot, "a duration such as 1m30s") : durationText(ns);
};

/** One of some words. */
export function word(...words: readonly string[]): Shape {
  return (node, spot) => {
    const found = scalar(node, spot, "a string");
    const known = words.includes(found.text);
    return known
      ? found.text
      : wrong(node, spot, `one of ${words.join(", ")}, not ${JSON.stringify(found.text)}`);
  };
}

/** A text of a form that `what` describes. */
export function textOf(form: RegExp, what: string): Shape {
  return (node, spot) => {
    const found = scalar(node, spot, what);
    return form.test(found.text) ? found.text : wrong(node, spot, what);
  };
}

/** A list. */
export function list(item: Shape): Shape {
  return (node, spot) => {
    if (node.kind !== "list") return wrong(node, spot, "a list");
    return node.items.map((one, i) => {
      const path = `${spot.path}[${i}]`;
      spot.reading.places.set(path, one.place);
      return item(one, { ...spot, path });
    });
  };
}

/** A list of texts without doubles. */
export function textList(item: Shape = anyText): Shape {
  const read = list(item);
  return (node, spot) => [...new Set(read(node, spot) as readonly string[])];
}

/** A list, or one value that stands for a list of one. */
export function listOrOne(item: Shape): Shape {
  return (node, spot) => {
    if (node.kind === "list") return list(item)(node, spot);
    return isNothing(node) ? [] : [item(node, spot)];
  };
}

/** Names with values. */
export function mapOf(value: Shape): Shape {
  return (node, spot) => {
    if (isNothing(node)) return {};
    if (node.kind !== "map") return wrong(node, spot, "a mapping");
    const found: Record<string, unknown> = Object.create(null);
    for (const [key, entry] of node.entries) {
      const path = `${spot.path}.${key}`;
      spot.reading.places.set(path, entry.place);
      found[key] = value(entry.value, { ...spot, path });
    }
    return found;
  };
}

/** A map of texts, or a list of `KEY=value`. @param value What a value without text comes to. */
export function pairs(value: Shape = (node, spot) => textOrNothing(node, spot) ?? ""): Shape {
  return (node, spot) => {
    if (node.kind !== "list")
      return node.kind === "map" || isNothing(node)
        ? mapOf(value)(node, spot)
        : wrong(node, spot, "a mapping or a list");
    const found: Record<string, unknown> = Object.create(null);
    for (const [i, item] of node.items.entries()) {
      const line = anyText(item, { ...spot, path: `${spot.path}[${i}]` }) as string;
      const at = line.indexOf("=");
      const key = at < 0 ? line : line.slice(0, at);
      spot.reading.places.set(`${spot.path}.${key}`, item.place);
      found[key] =
        at < 0
          ? value({ ...(item as ScalarNode), text: "", isPlain: true }, spot)
          : line.slice(at + 1);
    }
    return found;
  };
}

/** A map whose keys are known. */
export function object(table: Table, required: readonly string[] = []): Shape {
  return (node, spot) => {
    if (isNothing(node) && required.length === 0) return {};
    if (node.kind !== "map") return wrong(node, spot, "a mapping");
    for (const key of required)
      if (!node.entries.has(key)) throw refusal(node.place, `${spot.path} ${key} is required`);
    return fields(node, table, spot);
  };
}

function fields(node: MapNode, table: Table, spot: Spot): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [key, { place, value }] of node.entries) {
    if (key.startsWith("x-") && !Object.hasOwn(table, key)) continue;
    const path = spot.path === "" ? key : `${spot.path}.${key}`;
    const shape = Object.hasOwn(table, key) ? table[key] : undefined;
    if (shape === undefined) {
      const owner = spot.path === "" ? "(root)" : spot.path;
      throw refusal(place, `${owner} Additional property ${key} is not allowed`);
    }
    spot.reading.places.set(path, place);
    const result = shape(value, { ...spot, path });
    if (result !== undefined) found[key] = result;
  }
  return found;
}

/** By what stands there: a text, a list or a map. */
export function either(o: {
  readonly scalar?: Shape;
  readonly list?: Shape;
  readonly map?: Shape;
  readonly what: string;
}): Shape {
  return (node, spot) => {
    const shape = o[node.kind];
    return shape === undefined ? wrong(node, spot, o.what) : shape(node, spot);
  };
}

/** A key that has no effect here, which the user is told with the reason. */
export function ignored(reason: string): Shape {
  const warn = (node: Node, spot: Spot) => {
    spot.reading.warn(node.place, `${spot.path} is ignored: ${reason}`);
    return undefined;
  };
  return Object.assign(warn, { ignored: reason });
}

/** As `ignored`, unless it says what holds anyway. */
export function ignoredUnless(values: readonly string[], reason: string): Shape {
  return (node, spot) => {
    if (node.kind === "scalar" && values.includes(node.text)) return undefined;
    return ignored(reason)(node, spot);
  };
}

/** A key that cannot be here. */
export function refused(reason: string): Shape {
  return (node, spot) => {
    throw refusal(node.place, `${spot.path} is not supported: ${reason}`);
  };
}
