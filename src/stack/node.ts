/**
 * What a Compose file is read into: scalars, lists and maps that know where they stand.
 *
 * Read by `read.ts`, changed by interpolation, merging, extends and include, checked by `schema.ts`. Nodes are never
 * changed in place: an alias of YAML and its anchor are one and the same node.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";

/** A file, and where paths in it start from. */
export interface Source {
  /** As messages name it. */
  readonly name: string;
  /** Absolute; relative paths in the file are meant from here. */
  readonly folder: string;
}

/** Where something stands; lines and columns count from 1. */
export interface Place {
  readonly source: Source;
  readonly line: number;
  readonly column: number;
}

/** `reset` takes away what the files before say of the key, `override` puts the value in its place instead of merging. */
export type Tag = "reset" | "override" | undefined;

/** A value that is no collection. Its type is what the key wants it to be: see `scalar.ts`. */
export interface ScalarNode {
  readonly kind: "scalar";
  readonly text: string;
  /** Without quotes, so that `true`, `12` and nothing at all may mean more than text. */
  readonly isPlain: boolean;
  /** Variables were filled in: what came out may be of any type. */
  readonly isFilled: boolean;
  readonly place: Place;
  readonly tag: Tag;
}

/** A sequence. */
export interface ListNode {
  readonly kind: "list";
  readonly items: readonly Node[];
  readonly place: Place;
  readonly tag: Tag;
}

/** One key with its value. */
export interface Entry {
  readonly place: Place;
  readonly value: Node;
}

/** A mapping, in the order of the file. */
export interface MapNode {
  readonly kind: "map";
  readonly entries: ReadonlyMap<string, Entry>;
  readonly place: Place;
  readonly tag: Tag;
}

/** Any part of a file. */
export type Node = ScalarNode | ListNode | MapNode;

/** A refusal with file, line and column. */
export function refusal(place: Place, message: string): ClusterError {
  return new ClusterError("invalid-argument", `${placeText(place)}: ${message}`);
}

/** `compose.yaml:3:5`. */
export function placeText({ source, line, column }: Place): string {
  return `${source.name}:${line}:${column}`;
}

/** Whether nothing stands there: `key:`, `key: ~`, `key: null`. */
export function isNothing(node: Node): boolean {
  return node.kind === "scalar" && node.isPlain && /^(~|null|Null|NULL|)$/.test(node.text);
}

/** What stands behind a key; undefined when the node is no map or has none. */
export function childOf(node: Node | undefined, key: string): Node | undefined {
  return node?.kind === "map" ? node.entries.get(key)?.value : undefined;
}

/** A text that no file says, at the place of what it is made from. */
export function textNode(text: string, place: Place): ScalarNode {
  return { kind: "scalar", text, isPlain: false, isFilled: false, place, tag: undefined };
}

/** A map with other entries. */
export function withEntries(node: MapNode, entries: ReadonlyMap<string, Entry>): MapNode {
  return { ...node, entries };
}

/** A map of these entries at a place. */
export function mapNode(entries: ReadonlyMap<string, Entry>, place: Place): MapNode {
  return { kind: "map", entries, place, tag: undefined };
}
