/**
 * Gives networks their numbers and subnets, services their endpoints, and new tasks their addresses, which takes them to
 * PENDING: the leader's loop around `network.ts` and `decide.ts`.
 *
 * The book of what is given out is read in anew at the start and follows the store. What has to wait keeps its state,
 * carries the reason, and is looked at again when what it waits for has changed.
 */
import {
  type Endpoint,
  Endpoint as EndpointCodec,
  NetworkAttachment,
  type Service,
  type Task,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { allocationsPerSlice, networksPerBatch } from "../../src/common/limits/orchestrator.ts";
import { type Log, silentLog } from "../../src/common/log/log.ts";
import { addressesOf } from "../../src/common/spec/subnet-clash.ts";
import type { Change } from "../state/change.ts";
import { type Follower, Waiting } from "../state/follow.ts";
import type { Store } from "../state/store.ts";
import type { Tx } from "../state/transaction.ts";
import { mayRun } from "../state/uniqueness.ts";
import { Blocked } from "./blocked.ts";
import { AllocationBook } from "./book.ts";
import {
  allocateService,
  allocateTask,
  isGivenUp,
  isNew,
  meshAbsent,
  type Surroundings,
  type Wait,
} from "./decide.ts";
import { fullnessChanges } from "./fullness.ts";
import { allocateNetwork, needsNetwork, poolsOf } from "./network.ts";

type Table = "network" | "service" | "task";

/** What a task that was let through says. */
const passedMessage = "pending task scheduling";
/** What an attachment of a container that was run by hand says. */
const attachedMessage = "attached to its network";

/** The loop of one leadership; run it with `follow`. */
export class AllocatorLoop implements Follower {
  readonly component = "allocator";
  readonly #store: Store;
  readonly #term: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #due = {
    network: new Waiting<string>(),
    service: new Waiting<string>(),
    task: new Waiting<string>(),
  };
  /** Tasks that hold addresses they will never use. */
  readonly #givenUp = new Waiting<string>();
  /** Objects the book has to be told of. */
  #dirty = new Map<string, Table>();
  readonly #blocked = new Blocked();
  #book = new AllocationBook();
  #isAllDue = false;

  constructor(
    leadership: { readonly store: Store; readonly term: number },
    tools: { readonly clock: Clock; readonly log?: Log },
  ) {
    this.#store = leadership.store;
    this.#term = leadership.term;
    this.#clock = tools.clock;
    this.#log = tools.log ?? silentLog;
  }

  lookAtAll(): void {
    this.#isAllDue = true;
  }

  changed(change: Change): void {
    const { table, kind, object, old } = change;
    if (table === "cluster") {
      for (const id of this.#blocked.all("network")) this.#due.network.add(id, id);
      return;
    }
    if (table !== "network" && table !== "service" && table !== "task") return;
    if (
      change.table === "task" &&
      change.old !== undefined &&
      isSameHolding(change.old, change.object)
    ) {
      this.#see(change.object);
      return;
    }
    this.#dirty.set(object.id, table);
    if (kind === "remove") this.#gone(table, object.id);
    else if (change.table === "task") this.#see(change.object);
    else if (table === "service") {
      this.#due.service.add(object.id, object.id);
      // It may publish less than before.
      if (old !== undefined) this.#wake("");
    } else if (table === "network") this.#due.network.add(object.id, object.id);
  }

  async work(signal: AbortSignal): Promise<number> {
    if (this.#isAllDue) await this.#readAll();
    await this.#sync();
    for (const [id, count] of this.#book.takeFreed()) this.#wake(id, count);
    await this.#drain("network", signal, (tx, id) => this.#allocateNetwork(tx, id));
    await this.#drain("service", signal, (tx, id) => this.#allocateService(tx, id));
    await this.#givenUp.drain((ids) =>
      this.#store.batch(ids, takeBack, { term: this.#term, signal }),
    );
    await this.#drain("task", signal, (tx, id) => this.#allocateTask(tx, id));
    await this.#noteFullness(signal);
    return Number.POSITIVE_INFINITY;
  }

  async #drain(
    table: Table,
    signal: AbortSignal,
    allocate: (tx: Tx, id: string) => void,
  ): Promise<void> {
    await this.#due[table].drain(async (ids) => {
      // Each network is compared with all others.
      const size = table === "network" ? networksPerBatch : ids.length;
      try {
        for (let from = 0; from < ids.length; from += size) {
          const some = ids.slice(from, from + size);
          await this.#store.batch(some, allocate, { term: this.#term, signal });
        }
      } catch (error) {
        // What was given and not committed is not given.
        for (const id of ids) this.#dirty.set(id, table);
        throw error;
      }
    });
  }

  /** Says which networks run out of addresses. */
  async #noteFullness(signal: AbortSignal): Promise<void> {
    const changes = new Map(fullnessChanges(this.#book).map((change) => [change.id, change]));
    if (changes.size === 0) return;
    for (const { id, name, before, level } of changes.values()) {
      if (before !== 0) continue;
      const facts = { "network.id": id, name, percent: level };
      this.#log.warn("network is running out of addresses", facts);
    }
    const write = (tx: Tx, id: string) => {
      const network = tx.get("network", id);
      const fullness = changes.get(id)?.level;
      if (network !== undefined && fullness !== undefined)
        tx.update("network", { ...network, fullness });
    };
    await this.#store.batch([...changes.keys()], write, { term: this.#term, signal });
  }

  /** Everything at the start, or when changes were lost; others get their turns meanwhile. */
  async #readAll(): Promise<void> {
    this.#isAllDue = false;
    this.#book = new AllocationBook();
    this.#blocked.clear();
    this.#dirty.clear();
    const view = this.#store.view();
    for (const network of view.each("network")) {
      this.#book.setNetwork(network.id, network);
      this.#due.network.add(network.id, network.id);
    }
    for (const service of view.each("service")) {
      this.#book.setService(service.id, service);
      this.#due.service.add(service.id, service.id);
    }
    let seen = 0;
    for (const { id } of this.#store.freeze().tables.get("task") ?? []) {
      // As it is now: what changes meanwhile is noted, and looked at once more.
      const task = this.#store.view().get("task", id);
      if (task !== undefined) {
        this.#book.setTask(id, task);
        this.#see(task);
      }
      if (++seen % allocationsPerSlice === 0) await pause();
    }
  }

  /** Brings the book to what the store says of all that has changed. */
  async #sync(): Promise<void> {
    let seen = 0;
    while (this.#dirty.size > 0) {
      const dirty = this.#dirty;
      this.#dirty = new Map();
      for (const [id, table] of dirty) {
        const view = this.#store.view();
        if (table === "network") this.#book.setNetwork(id, view.get("network", id));
        else if (table === "service") this.#book.setService(id, view.get("service", id));
        else this.#book.setTask(id, view.get("task", id));
        if (++seen % allocationsPerSlice === 0) await pause();
      }
    }
  }

  #see(task: Task): void {
    if (isNew(task)) {
      if (!this.#blocked.has(task.id)) this.#due.task.add(task.id, task.id);
    } else if (isGivenUp(task)) {
      this.#blocked.remove(task.id);
      if (task.networks.length > 0) this.#givenUp.add(task.id, task.id);
    }
  }

  #gone(table: Table, id: string): void {
    this.#blocked.remove(id);
    if (table === "task") return;
    this.#wake(id);
    // Its subnets and ports may be what others wait for.
    if (table === "network")
      for (const other of this.#blocked.all("network")) this.#due.network.add(other, other);
    else this.#wake("");
  }

  /** Looks again at what waits for this, at as many as there may be something for. */
  #wake(id: string, count = Number.POSITIVE_INFINITY): void {
    for (const { table, id: waiting } of this.#blocked.take(id, count)) {
      this.#due[table].add(waiting, waiting);
    }
  }

  #allocateNetwork(tx: Tx, id: string): void {
    const network = tx.get("network", id);
    if (network === undefined) return;
    if (!needsNetwork(network)) {
      this.#wake(id);
      return;
    }
    const [cluster] = tx.list("cluster");
    const allocation = allocateNetwork(network, {
      numbers: this.#book.numbers,
      pools: poolsOf(cluster),
      others: this.#book.subnetsBut(id),
      nodes: [...tx.each("node")].flatMap(addressesOf),
    });
    if (allocation.kind === "wait") {
      const { reason } = allocation;
      if (this.#blocked.reasonOf(id) !== reason)
        this.#log.warn("network has to wait", { "network.id": id, err: reason });
      this.#blocked.put({ table: "network", id }, { on: "", reason });
      this.#wake(id);
      return;
    }
    this.#book.setNetwork(id, allocation.network);
    tx.update("network", allocation.network);
    this.#blocked.remove(id);
    this.#wake(id);
    if (network.spec?.ingress === true) this.#wake(meshAbsent);
  }

  #allocateService(tx: Tx, id: string): void {
    const service = tx.get("service", id);
    if (service === undefined) return;
    const allocation = allocateService(service, this.#surroundings(tx));
    if (allocation.kind === "wait") {
      this.#wait("service", id, allocation);
    } else {
      this.#blocked.remove(id);
      if (!isSameEndpoint(service, allocation.endpoint))
        tx.update("service", { ...service, endpoint: allocation.endpoint });
    }
    this.#wake(id);
  }

  #allocateTask(tx: Tx, id: string): void {
    const task = tx.get("task", id);
    if (task === undefined || !isNew(task)) return;
    const allocation = allocateTask(task, this.#surroundings(tx));
    if (allocation.kind === "done") {
      this.#blocked.remove(id);
      tx.update("task", this.#passed(task, allocation));
      return;
    }
    this.#wait("task", id, allocation);
    if (task.status?.error === allocation.reason) return;
    const status = TaskStatus.create({ ...task.status, state: "new", error: allocation.reason });
    tx.update("task", { ...task, status });
  }

  #wait(table: Table, id: string, { on, reason }: Wait): void {
    this.#blocked.put({ table, id }, { on, reason });
  }

  #surroundings(tx: Tx): Surroundings {
    return {
      book: this.#book,
      network: (id) => tx.get("network", id),
      service: (id) => tx.get("service", id),
      reasonOf: (id) => this.#blocked.reasonOf(id),
    };
  }

  #passed(
    task: Task,
    {
      networks,
      endpoint,
    }: { readonly networks: readonly NetworkAttachment[]; readonly endpoint: Endpoint | undefined },
  ): Task {
    // A container that was run by hand is on its node already: there is nothing to schedule.
    const isAttachment = task.spec?.attachment !== undefined;
    const status = TaskStatus.create({
      timestampMs: this.#clock.now(),
      state: isAttachment ? "assigned" : "pending",
      message: isAttachment ? attachedMessage : passedMessage,
    });
    return { ...task, status, networks, endpoint: endpoint ?? task.endpoint };
  }
}

/** Whether the task holds what it held. */
function isSameHolding(old: Task, task: Task): boolean {
  return old.networks === task.networks && mayRun(old) === mayRun(task);
}

/** Whether the service has this endpoint. */
function isSameEndpoint(service: Service, endpoint: Endpoint): boolean {
  if (service.endpoint === undefined) return false;
  const bytes = (one: Endpoint) => EndpointCodec.encode(one);
  return Buffer.compare(bytes(service.endpoint), bytes(endpoint)) === 0;
}

/** Takes from a task what it will never use. */
function takeBack(tx: Tx, id: string): void {
  const task = tx.get("task", id);
  if (task === undefined || !isGivenUp(task)) return;
  if (task.networks.every(({ addresses }) => addresses.length === 0)) return;
  const networks = task.networks.map((attachment) =>
    NetworkAttachment.create({ ...attachment, addresses: [] }),
  );
  tx.update("task", { ...task, networks });
}

/** Lets others have a turn. */
function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
