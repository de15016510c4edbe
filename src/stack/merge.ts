/**
 * Puts one Compose file over another, and a service over the one it extends, by the merge rules of the Compose
 * Specification. Pure.
 *
 * Maps merge key by key and lists append, but for the keys of the table below. `!reset` takes a key away, `!override` puts a
 * value in the place of what was there.
 */
import {
  childOf,
  type Entry,
  isNothing,
  type MapNode,
  mapNode,
  type Node,
  textNode,
  withEntries,
} from "./node.ts";

/** How the values of a key come together. */
type Rule =
  /** The later one alone counts. */
  | "replace"
  /** A list `KEY=value` and a map say the same. */
  | "pairs"
  /** As pairs, with a colon as separator, too. */
  | "hosts"
  /** A list of names and a map by name say the same. */
  | "names"
  /** One text stands for a list of one. */
  | "texts"
  /** Lists whose entries are known by something of theirs. */
  | "ports"
  | "mounts"
  | "grants"
  /** Options are those of the driver: with another driver they are not kept. */
  | "logging";

const rules: readonly (readonly [RegExp, Rule])[] = [
  [/^services\.\*\.(command|entrypoint|healthcheck\.test|gpus)$/, "replace"],
  [/^services\.\*\.(environment|labels|annotations|sysctls|storage_opt|deploy\.labels)$/, "pairs"],
  [/^services\.\*\.build\.(args|labels)$/, "pairs"],
  [/^(networks|volumes|secrets|configs)\.\*\.labels$/, "pairs"],
  [/^services\.\*\.extra_hosts$/, "hosts"],
  [/^services\.\*\.(networks|depends_on)$/, "names"],
  [/^services\.\*\.(dns|dns_search|dns_opt|env_file|label_file|tmpfs)$/, "texts"],
  [/^services\.\*\.(ports|expose)$/, "ports"],
  [/^services\.\*\.(volumes|devices)$/, "mounts"],
  [/^services\.\*\.(secrets|configs)$/, "grants"],
  [/^services\.\*\.logging$/, "logging"],
];

/** The later file over the earlier. */
export function mergeFiles(base: MapNode, over: MapNode): MapNode {
  return mergeMaps(base, over, "");
}

/** A service over the one it extends. */
export function mergeService(base: MapNode, over: MapNode): MapNode {
  return mergeMaps(base, over, "services.*");
}

/** Takes away what `!reset` marks, once everything is merged. */
export function withoutResets(node: MapNode): MapNode {
  const entries = new Map<string, Entry>();
  for (const [key, entry] of node.entries) {
    if (entry.value.tag === "reset") continue;
    const { value } = entry;
    entries.set(key, value.kind === "map" ? { ...entry, value: withoutResets(value) } : entry);
  }
  return withEntries(node, entries);
}

function mergeMaps(base: MapNode, over: MapNode, path: string): MapNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const before = entries.get(key);
    if (entry.value.tag === "reset") entries.delete(key);
    else if (before === undefined) entries.set(key, entry);
    else
      entries.set(key, {
        ...entry,
        value: mergeNodes(before.value, entry.value, below(path, key)),
      });
  }
  return { ...over, entries };
}

/** Names of services and the like are `*` in paths. */
function below(path: string, key: string): string {
  if (path === "") return key;
  return /^(services|networks|volumes|secrets|configs)$/.test(path)
    ? `${path}.*`
    : `${path}.${key}`;
}

function mergeNodes(base: Node, over: Node, path: string): Node {
  if (over.tag === "override") return over;
  const rule = rules.find(([pattern]) => pattern.test(path))?.[1];
  if (rule !== undefined) return mergeByRule(base, over, { rule, path });
  if (base.kind === "map" && over.kind === "map") return mergeMaps(base, over, path);
  if (base.kind === "map" && isNothing(over)) return base;
  if (base.kind === "list" && over.kind === "list") return appended(base.items, over, plainKey);
  return over;
}

function mergeByRule(
  base: Node,
  over: Node,
  o: { readonly rule: Rule; readonly path: string },
): Node {
  switch (o.rule) {
    case "replace":
      return over;
    case "pairs":
      return mergeAsMaps(pairsAsMap(base, /=/), pairsAsMap(over, /=/), o.path);
    case "hosts":
      return mergeAsMaps(pairsAsMap(base, /[=:]/), pairsAsMap(over, /[=:]/), o.path);
    case "names":
      return mergeAsMaps(namesAsMap(base), namesAsMap(over), o.path);
    case "texts":
      return appended(asItems(base), asList(over), plainKey);
    case "ports":
      return appended(asItems(base), asList(over), portKey);
    case "mounts":
      return appended(asItems(base), asList(over), mountKey);
    case "grants":
      return appended(asItems(base), asList(over), grantKey);
    case "logging": {
      const text = (node: Node) => plainKey(childOf(node, "driver") ?? node);
      const isOther =
        childOf(base, "driver") !== undefined &&
        childOf(over, "driver") !== undefined &&
        text(base) !== text(over);
      return isOther || base.kind !== "map" || over.kind !== "map"
        ? over
        : mergeMaps(base, over, o.path);
    }
  }
}

/** What is neither list nor map is left for the check to refuse. */
function mergeAsMaps(base: Node, over: Node, path: string): Node {
  return base.kind === "map" && over.kind === "map" ? mergeMaps(base, over, path) : over;
}

function pairsAsMap(node: Node, separator: RegExp): Node {
  if (node.kind !== "list") return isNothing(node) ? mapNode(new Map(), node.place) : node;
  const entries = new Map<string, Entry>();
  for (const item of node.items) {
    if (item.kind !== "scalar") return node;
    const at = item.text.search(separator);
    const value =
      at < 0
        ? { ...item, text: "", isPlain: true }
        : { ...item, text: item.text.slice(at + 1), isPlain: false };
    entries.set(at < 0 ? item.text : item.text.slice(0, at), { place: item.place, value });
  }
  return { ...mapNode(entries, node.place), tag: node.tag };
}

function namesAsMap(node: Node): Node {
  if (node.kind !== "list") return isNothing(node) ? mapNode(new Map(), node.place) : node;
  const entries = new Map<string, Entry>();
  for (const item of node.items) {
    if (item.kind !== "scalar") return node;
    entries.set(item.text, {
      place: item.place,
      value: { ...textNode("", item.place), isPlain: true },
    });
  }
  return { ...mapNode(entries, node.place), tag: node.tag };
}

function asItems(node: Node): readonly Node[] {
  if (node.kind === "list") return node.items;
  return isNothing(node) ? [] : [node];
}

function asList(node: Node): Node & { readonly kind: "list" } {
  if (node.kind === "list") return node;
  return { kind: "list", items: asItems(node), place: node.place, tag: node.tag };
}

/** Later entries take the place of earlier ones that have the same key. */
function appended(
  base: readonly Node[],
  over: Node & { readonly kind: "list" },
  keyOf: (node: Node) => string,
): Node {
  const byKey = new Map<string, Node>();
  for (const item of [...base, ...over.items]) byKey.set(keyOf(item), item);
  return { ...over, items: [...byKey.values()] };
}

function plainKey(node: Node): string {
  if (node.kind === "scalar") return node.text;
  if (node.kind === "list") return JSON.stringify(node.items.map(plainKey));
  const path = childOf(node, "path");
  if (path !== undefined) return plainKey(path);
  return JSON.stringify([...node.entries].map(([key, { value }]) => [key, plainKey(value)]));
}

const textAt = (node: Node, key: string): string => {
  const value = childOf(node, key);
  return value?.kind === "scalar" ? value.text : "";
};

function portKey(node: Node): string {
  if (node.kind !== "map") return plainKey(node).replace(/\/tcp$/, "");
  const [host, published, target, protocol] = ["host_ip", "published", "target", "protocol"].map(
    (key) => textAt(node, key),
  );
  const front = [host, published, target].filter((part) => part !== "").join(":");
  return protocol === "" || protocol === "tcp" ? front : `${front}/${protocol}`;
}

function mountKey(node: Node): string {
  if (node.kind === "map") return textAt(node, "target") || plainKey(node);
  const parts = plainKey(node).split(":");
  return parts[1] ?? parts[0] ?? "";
}

function grantKey(node: Node): string {
  if (node.kind !== "map") return plainKey(node);
  return textAt(node, "target") || textAt(node, "source");
}
