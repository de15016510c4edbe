/**
 * What else is in the way of a service's new tasks: ports of nodes that others have there, and named volumes that are on a node
 * where the task cannot go, would start empty beside one that is not, or that others have with other options.
 *
 * It says which port or volume it is, where, and whose; why no node takes a task at all the scheduler's words say.
 */
import type { Mount, Service, Task } from "../../src/common/api/generated/api.ts";
import { type ConflictPlan, plannedConflictsMax } from "../../src/common/spec/cluster-plan.ts";
import { localVolumesOf } from "../../src/common/spec/local-volumes.ts";
import { volumeNodesOf } from "../scheduler/homes.ts";
import { hostPortsOf } from "../scheduler/node-info.ts";
import type { View } from "../state/view.ts";
import type { Room } from "./room.ts";

/** The conflicts of one service, as its tasks are given nodes. */
export class Conflicts {
  readonly #serviceId: string;
  readonly #view: View;
  readonly #room: Room;
  readonly #found = new Map<string, ConflictPlan>();
  /** Slots without a node that were looked at. */
  #looks = 0;

  constructor(service: Service, o: { readonly tx: View; readonly room: Room }) {
    this.#serviceId = service.id;
    this.#view = o.tx;
    this.#room = o.room;
  }

  /** No node takes the task. */
  waits(task: Task): void {
    if (this.#found.size >= plannedConflictsMax) return;
    // Each looks at all nodes, and those that follow mostly find the same.
    if (task.nodeId === "" && ++this.#looks > plannedConflictsMax) return;
    this.#portsOf(task);
    if (task.nodeId === "") this.#volumesElsewhere(task);
  }

  /** The task goes to a node. @param task As it was before; one that is for one node has its volumes there */
  placed(task: Task, nodeId: string): void {
    if (this.#found.size >= plannedConflictsMax) return;
    for (const mount of task.spec?.container?.mounts ?? []) this.#otherOptions(mount, nodeId);
    if (task.nodeId !== "") return;
    for (const name of localVolumesOf(task.spec)) {
      const nodeIds = volumeNodesOf(task, [name], { view: this.#view });
      if (nodeIds.size === 0 || nodeIds.has(nodeId)) continue;
      this.#add({
        ...{ kind: "volume", name, nodeIds: [...nodeIds], effect: "empty", to: nodeId, reason: "" },
        services: this.#holders(nodeIds, (other) => localVolumesOf(other.spec).includes(name)),
      });
    }
  }

  list(): readonly ConflictPlan[] {
    return [...this.#found.values()];
  }

  /** Ports without which a node would do. */
  #portsOf(task: Task): void {
    const ports = hostPortsOf(task);
    if (ports.length === 0) return;
    const decision = this.#room.decision(task);
    const free = this.#room.decision({ ...task, endpoint: undefined });
    const nodes = this.#room.nodes.list().filter((info) => {
      const isOwn = task.nodeId === "" || task.nodeId === info.id;
      return isOwn && !decision.wouldDo([info]) && free.wouldDo([info]);
    });
    for (const port of ports) {
      const nodeIds = nodes.filter((info) => info.hasPort([port])).map(({ id }) => id);
      if (nodeIds.length === 0) continue;
      const { protocol, publishedPort } = port;
      const isSame = (other: typeof port) =>
        other.protocol === protocol && other.publishedPort === publishedPort;
      this.#add({
        ...{ kind: "port", name: `${publishedPort}/${protocol}`, nodeIds, effect: "waits" },
        services: this.#holders(nodeIds, (other) => hostPortsOf(other).some(isSame)),
        ...{ to: "", reason: "" },
      });
    }
  }

  /** Volumes that keep the task from nodes that would do, and why it cannot go where they are. */
  #volumesElsewhere(task: Task): void {
    const names = localVolumesOf(task.spec);
    if (names.length === 0) return;
    const nodes = this.#room.nodes;
    if (!this.#room.decision(withoutVolumes(task, names)).wouldDo(nodes.list())) return;
    const decision = this.#room.decision(task);
    for (const name of names)
      for (const id of volumeNodesOf(task, [name], { view: this.#view })) {
        const info = nodes.get(id);
        if (info === undefined || decision.wouldDo([info])) continue;
        this.#add({
          ...{ kind: "volume", name, nodeIds: [id], effect: "waits", to: "" },
          services: this.#holders([id], (other) => localVolumesOf(other.spec).includes(name)),
          reason: decision.explain(id),
        });
      }
  }

  /** Of other services: what this one changes of its own volume the node says. */
  #otherOptions({ type, source, volume }: Mount, nodeId: string): void {
    const wanted = volume?.driver?.options ?? {};
    if (type !== "volume" || source === "" || source.includes("{{")) return;
    if (Object.keys(wanted).length === 0) return;
    const differs = (other: Task) =>
      other.serviceId !== this.#serviceId &&
      (other.spec?.container?.mounts ?? []).some(
        (mount) =>
          mount.type === "volume" &&
          mount.source === source &&
          isOther(mount.volume?.driver?.options ?? {}, wanted),
      );
    const services = this.#holders([nodeId], differs);
    if (services.length === 0) return;
    this.#add({
      ...{ kind: "volume", name: source, nodeIds: [nodeId], services, to: nodeId },
      ...{ effect: "rejected", reason: "it has other options there" },
    });
  }

  /** Names of the services with such a task on one of the nodes. */
  #holders(nodeIds: Iterable<string>, isHolder: (task: Task) => boolean): readonly string[] {
    const names = new Set<string>();
    for (const id of nodeIds)
      for (const task of this.#room.tasksOn(id))
        if (isHolder(task)) names.add(task.serviceAnnotations?.name ?? "");
    names.delete("");
    return [...names].sort();
  }

  #add(one: ConflictPlan): void {
    const key = `${one.kind} ${one.name} ${one.effect} ${one.to} ${one.reason}`;
    const known = this.#found.get(key) ?? one;
    const together = (a: readonly string[], b: readonly string[]) => [...new Set([...a, ...b])];
    this.#found.set(key, {
      ...one,
      nodeIds: together(known.nodeIds, one.nodeIds).sort(),
      services: together(known.services, one.services).sort(),
    });
  }
}

function withoutVolumes(task: Task, names: readonly string[]): Task {
  const { spec } = task;
  if (spec?.container === undefined) return task;
  const mounts = spec.container.mounts.filter(({ source }) => !names.includes(source));
  return { ...task, spec: { ...spec, container: { ...spec.container, mounts } } };
}

/** Whether options of a volume differ for certain: each task has placeholders filled in anew. */
function isOther(
  one: Readonly<Record<string, string>>,
  other: Readonly<Record<string, string>>,
): boolean {
  const [text, otherText] = [one, other].map((of) => JSON.stringify(Object.entries(of).sort()));
  return text !== otherText && !`${text} ${otherText}`.includes("{{");
}
