/**
 * What the scheduler knows of one node: the node itself, and what its tasks take of it. Pure.
 */
import type {
  GenericResource,
  Node,
  Platform,
  PortConfig,
  Task,
  TaskState,
} from "../../src/common/api/generated/api.ts";
import { allowsEmulation, platformText } from "../../src/common/platform/match.ts";
import { GenericPool } from "./generic.ts";

/** An image that was refused on a node, and what was known of the image then. */
interface Refusal {
  /** Digest of the index; empty when it was not known. */
  readonly digest: string;
}

/** Images remembered per node as refused; the oldest is forgotten first. */
const refusalsMax = 64;
const noPorts: readonly PortConfig[] = [];
const noGeneric: readonly GenericResource[] = [];

/** States in which a task is on its node, and takes its share of it. */
const onNode: ReadonlySet<TaskState> = new Set<TaskState>([
  "assigned",
  "accepted",
  "preparing",
  "ready",
  "starting",
  "running",
]);
/** Desired states of tasks that are wanted; jobs are wanted until they are complete. */
const wantedStates: ReadonlySet<TaskState> = new Set<TaskState>([
  ...onNode,
  "new",
  "pending",
  "complete",
]);

/** One node and what is left of it. */
export class NodeInfo {
  readonly id: string;
  /** Place of the node in its set. */
  position = 0;
  /** Wanted tasks on the node. */
  tasks = 0;
  totalCpus = 0;
  totalMemory = 0;
  /** Reserved by the tasks, nano CPUs and bytes. */
  usedCpus = 0;
  usedMemory = 0;
  isReady = false;
  /** Every platform the node runs, native first. */
  platforms: readonly Platform[] = [];
  /** The same for equal lists of platforms and equal leave to emulate. */
  platformKey = "";
  /** As `platformKey`, whatever the level of amd64: next to no image asks for one. */
  kindKey = "";
  /** Whether emulated platforms may be used for every service. */
  mayEmulate = false;
  generic = new GenericPool();
  #node: Node;
  readonly #given: GenericResource[][] = [];
  readonly #ports = new Map<string, number>();
  readonly #refusals = new Map<string, Refusal>();

  constructor(node: Node) {
    this.id = node.id;
    this.#node = node;
    this.#describe();
  }

  get node(): Node {
    return this.#node;
  }

  /** How users call it. */
  get name(): string {
    return this.#node.description?.hostname || this.id;
  }

  /** The node object changed. */
  update(node: Node): void {
    const before = this.platformKey;
    this.#node = node;
    this.#describe();
    if (this.platformKey !== before) this.#refusals.clear();
  }

  /** Takes what a task on the node needs. */
  charge(task: Task): void {
    this.#count(task, 1);
    const given = task.assignedGeneric;
    if (given.length > 0) {
      this.generic.take(given);
      this.#given.push([...given]);
    }
  }

  /** Gives back what a task that was charged needed. */
  release(task: Task): void {
    this.#count(task, -1);
    const given = task.assignedGeneric;
    if (given.length > 0) {
      this.generic.giveBack(given);
      const at = this.#given.findIndex((one) => sameGeneric(one, given));
      if (at >= 0) this.#given.splice(at, 1);
    }
  }

  /** Whether a task on the node has one of these host ports. */
  hasPort(ports: readonly PortConfig[]): boolean {
    return ports.some((port) => this.#ports.has(portKey(port)));
  }

  /** The node's agent refused an image, of which this digest was known (or empty), for its platform. */
  refuse(reference: string, digest: string): void {
    this.#refusals.delete(reference);
    this.#refusals.set(reference, { digest });
    if (this.#refusals.size <= refusalsMax) return;
    for (const oldest of this.#refusals.keys()) {
      this.#refusals.delete(oldest);
      return;
    }
  }

  /** Whether the agent refused this image; what is known by now may have overtaken that. */
  hasRefused(reference: string, digest: string): boolean {
    return this.#refusals.get(reference)?.digest === digest;
  }

  #count(task: Task, sign: 1 | -1): void {
    const reserved = task.spec?.resources?.reservations;
    if (reserved !== undefined) {
      this.usedCpus += sign * reserved.nanoCpus;
      this.usedMemory += sign * reserved.memoryBytes;
    }
    if (isWanted(task)) this.tasks += sign;
    for (const port of hostPortsOf(task)) {
      const key = portKey(port);
      const count = (this.#ports.get(key) ?? 0) + sign;
      if (count > 0) this.#ports.set(key, count);
      else this.#ports.delete(key);
    }
  }

  #describe(): void {
    const { description, spec, status } = this.#node;
    this.isReady = status?.state === "ready" && (spec?.availability ?? "active") === "active";
    this.totalCpus = description?.resources?.nanoCpus ?? 0;
    this.totalMemory = description?.resources?.memoryBytes ?? 0;
    const all = description?.platforms ?? [];
    const only = description?.platform;
    this.platforms = all.length === 0 && only !== undefined ? [only] : all;
    this.mayEmulate = allowsEmulation(spec?.annotations?.labels);
    const words = this.platforms.map((p) => `${platformText(p)}${p.emulated ? "*" : ""}`);
    this.platformKey = `${words.join(" ")}${this.mayEmulate ? " +" : ""}`;
    const kinds = this.platformKey.replaceAll(/amd64\/v\d/g, "amd64").split(" ");
    this.kindKey = [...new Set(kinds)].join(" ");
    this.generic = new GenericPool(description?.resources?.generic ?? noGeneric);
    for (const given of this.#given) this.generic.take(given);
  }
}

/** Whether a task takes its share of its node: from its assignment until it is known to have ended. */
export function isCharged(task: Task): boolean {
  return task.nodeId !== "" && onNode.has(task.status?.state ?? "new");
}

/** Whether a task is still wanted. */
export function isWanted(task: Task): boolean {
  return wantedStates.has(task.desiredState);
}

/** Ports a task takes on the node itself. */
export function hostPortsOf(task: Task): readonly PortConfig[] {
  const { endpoint } = task;
  if (endpoint === undefined) return noPorts;
  const ports = endpoint.ports.length > 0 ? endpoint.ports : (endpoint.spec?.ports ?? noPorts);
  if (ports.length === 0) return noPorts;
  return ports.filter((port) => port.publishMode === "host" && port.publishedPort !== 0);
}

function portKey({ protocol, publishedPort }: PortConfig): string {
  return `${protocol}/${publishedPort}`;
}

function sameGeneric(a: readonly GenericResource[], b: readonly GenericResource[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ kind, named, count }, at) => {
      const other = b[at];
      return other?.kind === kind && other.named === named && other.count === count;
    })
  );
}
