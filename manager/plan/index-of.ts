/**
 * A number for the state of what a plan is about: the specs of its objects, and the nodes as far as they decide who gets tasks.
 *
 * What tasks do is no part of it, nor what managers note of services: a cluster in which all goes on as it is stays at its index.
 * Pure.
 */
import { type Node, NodeSpec } from "../../src/common/api/generated/api.ts";
import { platformText } from "../../src/common/platform/match.ts";
import type { Change } from "../state/change.ts";
import type { View } from "../state/view.ts";

/** @param related Ids of objects that the plan also relies on; what is none of them now counts as gone. */
export function indexOf(
  view: View,
  changes: readonly Change[],
  related: readonly string[],
): number {
  const words = new Set<string>();
  for (const { kind, table, object, old } of changes) {
    if (kind === "create") words.add(`${table} new ${nameOf(object)}`);
    else words.add(wordOf(table, kind === "update" ? (old ?? object) : object));
  }
  for (const id of related) words.add(relatedWord(view, id));
  for (const node of view.each("node")) words.add(nodeWord(node));
  return hashOf([...words].sort().join("\n"));
}

function relatedWord(view: View, id: string): string {
  for (const table of ["service", "network", "secret", "config"] as const) {
    const object = view.get(table, id);
    if (object !== undefined) return wordOf(table, object);
  }
  return `gone ${id}`;
}

interface Versioned {
  readonly id: string;
  readonly specVersion?: number;
  readonly revision?: unknown;
  readonly meta?: { readonly version: number } | undefined;
}

function wordOf(table: string, object: object): string {
  const { id, specVersion, meta } = object as Versioned;
  // The managers write over services and networks; what users wrote is as it was.
  if (table === "service") return `service ${id} ${specVersion ?? 0}`;
  return table === "network" ? `network ${id}` : `${table} ${id} ${meta?.version ?? 0}`;
}

function nameOf(object: object): string {
  const { spec } = object as { readonly spec?: { readonly annotations?: { name: string } } };
  return spec?.annotations?.name ?? "";
}

function nodeWord({ id, spec, role, status, description }: Node): string {
  const { resources, platforms = [] } = description ?? {};
  const settings = Buffer.from(NodeSpec.encode(spec ?? NodeSpec.create())).toString("base64");
  const room = `${resources?.nanoCpus ?? 0} ${resources?.memoryBytes ?? 0}`;
  const runs = platforms.map(platformText).join(" ");
  return `node ${id} ${role} ${status?.state ?? ""} ${settings} ${room} ${runs}`;
}

/** FNV-1a, 32 bits: a number that a person can type. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
