/**
 * `extends`: a service starts from another one, of the same file or of another. Pure.
 */
import { composeNestingMax } from "../common/limits/stack.ts";
import { mergeService } from "./merge.ts";
import { childOf, type MapNode, type Node, type Place, refusal, withEntries } from "./node.ts";

/** A file with its services. */
export interface OpenedFile {
  readonly path: string;
  readonly root: MapNode;
}

/** Where services are looked for. */
export interface ExtendContext {
  /** Of the file itself. */
  readonly path: string;
  /** The files before, whose services may be extended, too. */
  readonly before: MapNode | undefined;
  /** Opens the file that stands at a place. @throws ClusterError when it cannot be read. */
  readonly open: (place: Place, file: string) => OpenedFile;
}

/** The file with no `extends` left. @throws ClusterError invalid-argument for services that are not there, and circles. */
export function extendServices(root: MapNode, context: ExtendContext): MapNode {
  const services = root.entries.get("services");
  if (services?.value.kind !== "map") return root;
  const entries = new Map(services.value.entries);
  for (const [name, entry] of entries) {
    if (childOf(entry.value, "extends") === undefined) continue;
    const value = extended(entry.value, { ...context, root, chain: [`${context.path}#${name}`] });
    entries.set(name, { ...entry, value });
  }
  const value = withEntries(services.value, entries);
  return withEntries(root, new Map(root.entries).set("services", { ...services, value }));
}

interface Step extends ExtendContext {
  readonly root: MapNode;
  readonly chain: readonly string[];
}

function extended(service: Node, step: Step): Node {
  const wish = childOf(service, "extends");
  if (service.kind !== "map" || wish === undefined) return service;
  const { name, file, place } = wishOf(wish);
  const opened = file === undefined ? undefined : step.open(place, file);
  const path = opened?.path ?? step.path;
  const root = opened?.root ?? step.root;
  const id = `${path}#${name}`;
  if (step.chain.includes(id) || step.chain.length > composeNestingMax)
    throw refusal(
      place,
      `circular reference with extends: ${[...step.chain, id].map(shortId).join(" -> ")}`,
    );
  const base =
    childOf(childOf(root, "services"), name) ??
    (opened === undefined ? childOf(childOf(step.before, "services"), name) : undefined);
  if (base === undefined)
    throw refusal(
      place,
      `cannot extend service ${JSON.stringify(name)}: service not found in ${root.place.source.name}`,
    );
  const whole = extended(base, {
    ...step,
    path,
    root,
    before: opened === undefined ? step.before : undefined,
    chain: [...step.chain, id],
  });
  const own = withEntries(
    service,
    new Map([...service.entries].filter(([key]) => key !== "extends")),
  );
  return whole.kind === "map" ? mergeService(whole, own) : own;
}

function shortId(id: string): string {
  return id.slice(id.lastIndexOf("/") + 1);
}

function wishOf(node: Node): { name: string; file: string | undefined; place: Place } {
  if (node.kind === "scalar") return { name: node.text, file: undefined, place: node.place };
  if (node.kind === "list") throw refusal(node.place, "extends must be a string or a mapping");
  const unknown = [...node.entries].find(([key]) => key !== "service" && key !== "file");
  if (unknown !== undefined)
    throw refusal(unknown[1].place, `extends: Additional property ${unknown[0]} is not allowed`);
  const text = (key: string) => {
    const value = childOf(node, key);
    if (value !== undefined && value.kind !== "scalar")
      throw refusal(value.place, `extends.${key} must be a string`);
    return value?.text;
  };
  const name = text("service");
  if (name === undefined) throw refusal(node.place, "extends.service is required");
  return { name, file: text("file"), place: node.place };
}
