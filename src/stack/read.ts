/**
 * YAML text → nodes with places. Follows YAML 1.2 with merge keys and the tags `!reset` and `!override` of Compose.
 *
 * Aliases share one node, and everything is counted as if each were written out, so that a few lines cannot stand for more
 * than there is memory. Pure.
 */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseAllDocuments,
  type Scalar,
  type YAMLMap,
} from "yaml";
import { composeDepthMax, composeFileBytesMax, composeNodesMax } from "../common/limits/stack.ts";
import {
  type Entry,
  type MapNode,
  type Node,
  type Place,
  refusal,
  type Source,
  type Tag,
} from "./node.ts";

/** A node of the parser. */
type Parsed = ParsedNode | Alias | null;

/**
 * Reads every document of a file, in order; later ones are merged over earlier ones by the caller.
 *
 * @throws ClusterError invalid-argument with file, line and column.
 */
export function readYaml(text: string, source: Source): readonly MapNode[] {
  const start: Place = { source, line: 1, column: 1 };
  if (text.length > composeFileBytesMax)
    throw refusal(
      start,
      `the file is larger than ${composeFileBytesMax} bytes; put data into files of configs or secrets`,
    );
  const lines = new LineCounter();
  const documents = parse(text, lines, start);
  const nodes: MapNode[] = [];
  for (const document of documents) {
    const [error] = document.errors;
    if (error !== undefined)
      throw refusal(placeIn(source, lines, error.pos[0]), errorLine(error.message));
    if (document.contents === null) continue;
    const reader = new Reader(document, source, lines);
    const node = reader.node(document.contents as Parsed, 0);
    if (node.kind !== "map") throw refusal(node.place, "top-level object must be a mapping");
    nodes.push(node);
  }
  return nodes;
}

function parse(text: string, lineCounter: LineCounter, start: Place): readonly Document.Parsed[] {
  try {
    // Without a schema of its own: what a plain text means depends on its key.
    const found = parseAllDocuments(text, {
      lineCounter,
      schema: "failsafe",
      logLevel: "silent",
      prettyErrors: false,
      uniqueKeys: true,
    });
    return "empty" in found ? [] : (found as readonly Document.Parsed[]);
  } catch (error) {
    // The parser calls itself for each level.
    if (error instanceof RangeError) throw refusal(start, tooDeep);
    throw error;
  }
}

const tooDeep = `lists and maps are nested deeper than ${composeDepthMax} levels`;

function placeIn(source: Source, lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { source, line: Math.max(1, line), column: Math.max(1, col) };
}

/** The parser calls itself for each level, and says so in the engine's words. */
function errorLine(text: string): string {
  const [line = ""] = text.split("\n");
  return line.startsWith("Maximum call stack") ? tooDeep : line;
}

/** A node and how many there are in it with every alias written out. */
interface Counted {
  readonly node: Node;
  readonly size: number;
}

class Reader {
  readonly #document: Document.Parsed;
  readonly #source: Source;
  readonly #lines: LineCounter;
  readonly #anchored = new Map<unknown, Counted>();
  readonly #open = new Set<unknown>();

  constructor(document: Document.Parsed, source: Source, lines: LineCounter) {
    this.#document = document;
    this.#source = source;
    this.#lines = lines;
  }

  node(parsed: Parsed, depth: number): Node {
    return this.#read(parsed, depth, this.#place(parsed)).node;
  }

  #read(parsed: Parsed, depth: number, near: Place): Counted {
    const place = parsed === null ? near : this.#place(parsed);
    if (depth > composeDepthMax) throw refusal(place, tooDeep);
    if (isAlias(parsed)) return this.#alias(parsed, place);
    const known = this.#anchored.get(parsed);
    if (known !== undefined) return known;
    this.#open.add(parsed);
    const counted = this.#collection(parsed, depth, place);
    this.#open.delete(parsed);
    if (counted.size > composeNodesMax)
      throw refusal(place, `aliases and values come to more than ${composeNodesMax} values`);
    if (parsed !== null && parsed.anchor !== undefined) this.#anchored.set(parsed, counted);
    return counted;
  }

  #alias(alias: Alias, place: Place): Counted {
    const target = alias.resolve(this.#document);
    if (target === undefined) throw refusal(place, `unknown anchor '${alias.source}' referenced`);
    if (this.#open.has(target))
      throw refusal(place, `anchor '${alias.source}' value contains itself`);
    const known = this.#anchored.get(target);
    if (known === undefined) throw refusal(place, `unknown anchor '${alias.source}' referenced`);
    return known;
  }

  #collection(parsed: Exclude<Parsed, Alias>, depth: number, place: Place): Counted {
    if (isMap(parsed)) return this.#map(parsed as YAMLMap<Parsed, Parsed>, depth, place);
    if (isSeq(parsed)) {
      let size = 1;
      const items = parsed.items.map((item) => {
        const counted = this.#read(item as Parsed, depth + 1, place);
        size += counted.size;
        return counted.node;
      });
      return { node: { kind: "list", items, place, tag: tagOf(parsed, place) }, size };
    }
    return { node: scalarNode(parsed, place), size: 1 };
  }

  #map(parsed: YAMLMap<Parsed, Parsed>, depth: number, place: Place): Counted {
    const own = new Map<string, Entry>();
    const merged: Node[] = [];
    let size = 1;
    for (const { key, value } of parsed.items) {
      const keyPlace = this.#place(key);
      const name = this.#key(key, keyPlace);
      const counted = this.#read(value ?? null, depth + 1, keyPlace);
      size += counted.size;
      if (name === "<<" && isScalar(key) && key.type === "PLAIN")
        merged.push(...mergeSources(counted.node));
      else own.set(name, { place: keyPlace, value: counted.node });
    }
    const entries = merged.length === 0 ? own : withMerged(own, merged);
    return { node: { kind: "map", entries, place, tag: tagOf(parsed, place) }, size };
  }

  #key(key: Parsed, place: Place): string {
    const node = isAlias(key) ? this.#alias(key, place).node : this.node(key, 0);
    if (node.kind !== "scalar") throw refusal(place, "a key must be a text");
    return node.text;
  }

  #place(parsed: Parsed): Place {
    return placeIn(this.#source, this.#lines, parsed?.range?.[0] ?? 0);
  }
}

/** `<<: *base` and `<<: [*one, *two]`. */
function mergeSources(node: Node): readonly Node[] {
  const list = node.kind === "list" ? node.items : [node];
  for (const item of list)
    if (item.kind !== "map")
      throw refusal(item.place, "map merge requires map or sequence of maps as the value");
  return list;
}

/** What a map says itself wins, then the first of what it merges. */
function withMerged(own: ReadonlyMap<string, Entry>, sources: readonly Node[]): Map<string, Entry> {
  const entries = new Map(own);
  for (const source of sources)
    if (source.kind === "map")
      for (const [key, entry] of source.entries) if (!entries.has(key)) entries.set(key, entry);
  return entries;
}

function scalarNode(parsed: Scalar.Parsed | null, place: Place): Node {
  const text = parsed === null ? "" : String(parsed.value ?? "");
  // `!!str 12` is text although it has no quotes.
  const isPlain =
    parsed === null || (parsed.type === "PLAIN" && parsed.tag !== "tag:yaml.org,2002:str");
  return {
    kind: "scalar",
    text,
    isPlain,
    isFilled: false,
    place,
    tag: parsed === null ? undefined : tagOf(parsed, place),
  };
}

function tagOf(parsed: { readonly tag?: string | undefined }, place: Place): Tag {
  const { tag } = parsed;
  if (tag === "!reset") return "reset";
  if (tag === "!override") return "override";
  if (tag === undefined || tag === "!" || tag.startsWith("tag:yaml.org,2002:")) return undefined;
  throw refusal(place, `tag ${tag} is not known here: Compose has !reset and !override`);
}
