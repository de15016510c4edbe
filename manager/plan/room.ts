/**
 * The cluster as the scheduler and the allocator see it, read from the tables once: the working copy of one plan.
 *
 * What the plan decides is charged here, task by task, as the leader's loops would charge it. Nothing leads back to the store.
 */
import {
  NetworkAttachment,
  type Service,
  type Task,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { addressesOf } from "../../src/common/spec/subnet-clash.ts";
import { AllocationBook } from "../allocator/book.ts";
import {
  type Surroundings as AllocationSurroundings,
  allocateService,
  allocateTask,
} from "../allocator/decide.ts";
import { allocateNetwork, needsNetwork, poolsOf } from "../allocator/network.ts";
import { nap, slices } from "../orchestrator/leadership.ts";
import { GroupDecision } from "../scheduler/decide.ts";
import { groupOf } from "../scheduler/group.ts";
import { isCharged } from "../scheduler/node-info.ts";
import { NodeSet } from "../scheduler/node-set.ts";
import { ImageBook, surroundingsOf } from "../scheduler/surroundings.ts";
import type { Store } from "../state/store.ts";
import type { Tx } from "../state/transaction.ts";

/** What is left of the cluster. */
export class Room {
  readonly nodes = new NodeSet();
  readonly images = new ImageBook();
  readonly #tx: Tx;
  readonly #now: number;
  readonly #book = new AllocationBook();
  readonly #charged = new Map<string, Task>();
  /** Of these, which are on a node. */
  readonly #onNodes = new Map<string, Set<string>>();
  /** Why networks and services wait, by id. */
  readonly #waits = new Map<string, string>();

  private constructor(tx: Tx, now: number) {
    this.#tx = tx;
    this.#now = now;
  }

  /** Reads all tables, in slices between which others have a turn. */
  static async read(store: Store, tx: Tx, clock: Clock): Promise<Room> {
    const room = new Room(tx, clock.now());
    const frozen = store.freeze();
    const pause = slices(clock);
    for (const table of ["node", "network", "service", "task"] as const) {
      for (const object of frozen.tables.get(table) ?? []) {
        room.#take(table, object);
        if (pause()) await nap();
      }
    }
    return room;
  }

  #take(table: "node" | "network" | "service" | "task", object: { readonly id: string }): void {
    switch (table) {
      case "node":
        this.nodes.put(object as Parameters<NodeSet["put"]>[0]);
        return;
      case "network":
        this.#book.setNetwork(object.id, object as Parameters<AllocationBook["setNetwork"]>[1]);
        return;
      case "service":
        this.images.note(object as Service);
        this.#book.setService(object.id, object as Service);
        return;
      case "task":
        this.#book.setTask(object.id, object as Task);
        this.put(object as Task);
        return;
    }
  }

  /** A task is, or has become, this one. */
  put(next: Task): void {
    this.nodes.taskChanged({ old: this.#charged.get(next.id), next }, this.#now, (reference) => {
      return this.images.facts(reference).digest;
    });
    this.noteCharged(next);
  }

  /** Tasks that have a share of the node, or are to have one. */
  tasksOn(nodeId: string): Task[] {
    return [...(this.#onNodes.get(nodeId) ?? [])].flatMap((id) => {
      const task = this.#charged.get(id);
      return task !== undefined && isCharged(task) ? task : [];
    });
  }

  /** A task has ended and is gone, with all it had. */
  release({ id }: Task): void {
    const old = this.#charged.get(id);
    if (old !== undefined) this.nodes.taskChanged({ old, next: undefined }, this.#now, () => "");
    this.#charged.delete(id);
    this.#onNodes.get(old?.nodeId ?? "")?.delete(id);
    this.#book.setTask(id, undefined);
  }

  /** A task that was released is there again. */
  restore(task: Task): void {
    this.#book.setTask(task.id, task);
    this.put(task);
  }

  /** Gives a network its addresses. @returns why it has to wait, or "". */
  allocateNetwork(id: string): string {
    const network = this.#tx.get("network", id);
    if (network === undefined || !needsNetwork(network)) return "";
    const [cluster] = this.#tx.list("cluster");
    const found = allocateNetwork(network, {
      numbers: this.#book.numbers,
      pools: poolsOf(cluster),
      others: this.#book.subnetsBut(id),
      nodes: [...this.#tx.each("node")].flatMap(addressesOf),
    });
    if (found.kind === "wait") return this.#waitsFor(id, found.reason);
    this.#book.setNetwork(id, found.network);
    this.#tx.update("network", found.network);
    return "";
  }

  /** A network is gone. */
  dropNetwork(id: string): void {
    this.#book.setNetwork(id, undefined);
  }

  /** Gives a service its ports and addresses. @returns why it has to wait, or "". */
  allocateService(id: string): string {
    const service = this.#tx.get("service", id);
    if (service === undefined) return "";
    this.#book.setService(id, service);
    const found = allocateService(service, this.#surroundings());
    if (found.kind === "wait") return this.#waitsFor(id, found.reason);
    this.#tx.update("service", { ...service, endpoint: found.endpoint });
    return "";
  }

  /** A service is gone. */
  dropService(id: string): void {
    this.#book.setService(id, undefined);
  }

  /** A new task with its addresses, as it waits for a node; or why it does not get so far. */
  allocate(task: Task): Task | string {
    const found = allocateTask(task, this.#surroundings());
    if (found.kind === "wait") {
      const { on, reason } = found;
      return reason || (this.#waits.get(on) ?? "what it needs is not there yet");
    }
    const status = TaskStatus.create({ state: "pending", timestampMs: this.#now });
    const networks = found.networks.map((one) => NetworkAttachment.create(one));
    return { ...task, status, networks, endpoint: found.endpoint ?? task.endpoint };
  }

  /** The scheduler's decision on tasks like this one. It holds until another task changes. */
  decision(task: Task): GroupDecision {
    const group = groupOf(task, surroundingsOf(task, this.#tx, { images: this.images }));
    return new GroupDecision(group, this.nodes, this.#now);
  }

  /** A task that was given a node is charged there already. */
  noteCharged(task: Task): void {
    this.#charged.set(task.id, task);
    const { id, nodeId } = task;
    if (nodeId === "") return;
    const there = this.#onNodes.get(nodeId);
    if (there === undefined) this.#onNodes.set(nodeId, new Set([id]));
    else there.add(id);
  }

  #waitsFor(id: string, reason: string): string {
    this.#waits.set(id, reason);
    return reason;
  }

  #surroundings(): AllocationSurroundings {
    return {
      book: this.#book,
      network: (id) => this.#tx.get("network", id),
      service: (id) => this.#tx.get("service", id),
      reasonOf: (id) => this.#waits.get(id),
    };
  }
}
