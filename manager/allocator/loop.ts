/**
 * Takes new tasks to PENDING once they have what the cluster allocates: the leader's loop around `decide.ts`.
 *
 * Services get their endpoint as the API shows it. Tasks that have to wait keep their state and carry the reason.
 */
import {
  Endpoint,
  EndpointSpec,
  NetworkAttachment,
  type Service,
  type Task,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import type { Change } from "../state/change.ts";
import { type Follower, Waiting } from "../state/follow.ts";
import type { Store } from "../state/store.ts";
import type { Tx } from "../state/transaction.ts";
import { type Allocation, allocate, ownDriverOf } from "./decide.ts";

/** Tasks looked at in one go: a few milliseconds. */
const tasksPerTurn = 10_000;
/** What a task that was let through says. */
const passedMessage = "pending task scheduling";

/** The loop of one leadership; run it with `follow`. */
export class AllocatorLoop implements Follower {
  readonly component = "allocator";
  readonly #store: Store;
  readonly #term: number;
  readonly #clock: Clock;
  readonly #tasks = new Waiting<string>();
  readonly #services = new Waiting<string>();
  #isAllDue = false;

  constructor(
    leadership: { readonly store: Store; readonly term: number },
    tools: { readonly clock: Clock },
  ) {
    this.#store = leadership.store;
    this.#term = leadership.term;
    this.#clock = tools.clock;
  }

  lookAtAll(): void {
    this.#isAllDue = true;
  }

  changed(change: Change): void {
    if (change.kind === "remove") return;
    if (change.table === "service") this.#seeService(change.object);
    else if (change.table === "task" && change.kind === "create") this.#seeTask(change.object);
  }

  async work(signal: AbortSignal): Promise<number> {
    const term = this.#term;
    if (this.#isAllDue) await this.#seeAll();
    await this.#services.drain((ids) =>
      this.#store.batch(ids, (tx, id) => this.#allocateService(tx, id), { term, signal }),
    );
    await this.#tasks.drain((ids) =>
      this.#store.batch(ids, (tx, id) => this.#allocateTask(tx, id), { term, signal }),
    );
    return Number.POSITIVE_INFINITY;
  }

  /** What waits at the start, or came while changes were lost; others get their turns meanwhile. */
  async #seeAll(): Promise<void> {
    this.#isAllDue = false;
    for (const service of this.#store.view().each("service")) this.#seeService(service);
    let seen = 0;
    for (const task of this.#store.freeze().tables.get("task") ?? []) {
      this.#seeTask(task as Task);
      if (++seen % tasksPerTurn === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  #seeService(service: Service): void {
    if (needsEndpoint(service)) this.#services.add(service.id, service.id);
  }

  #seeTask(task: Task): void {
    if ((task.status?.state ?? "new") === "new") this.#tasks.add(task.id, task.id);
  }

  #allocateService(tx: Tx, id: string): void {
    const service = tx.get("service", id);
    if (service === undefined || !needsEndpoint(service)) return;
    const spec = service.spec?.endpoint;
    const ports = (spec?.ports ?? []).filter(({ publishMode }) => publishMode === "host");
    tx.update("service", { ...service, endpoint: Endpoint.create({ spec, ports }) });
  }

  #allocateTask(tx: Tx, id: string): void {
    const task = tx.get("task", id);
    if (task === undefined || (task.status?.state ?? "new") !== "new") return;
    const allocation = allocate(task, (networkId) => tx.get("network", networkId));
    if (allocation.kind === "pass") tx.update("task", this.#passed(tx, task, allocation));
    else if (task.status?.error !== allocation.reason) {
      const status = TaskStatus.create({ ...task.status, state: "new", error: allocation.reason });
      tx.update("task", { ...task, status });
    }
  }

  #passed(tx: Tx, task: Task, allocation: Allocation & { readonly kind: "pass" }): Task {
    const { networks, hostPorts } = allocation;
    const status = TaskStatus.create({
      timestampMs: this.#clock.now(),
      state: "pending",
      message: passedMessage,
    });
    return {
      ...task,
      status,
      networks: networks.map((networkId) => {
        const ownDriver = ownDriverOf(tx.get("network", networkId));
        return NetworkAttachment.create({ networkId, ownDriver });
      }),
      endpoint: task.endpoint && { ...task.endpoint, ports: hostPorts },
    };
  }
}

/** Whether the service's endpoint is not what its spec says. */
function needsEndpoint(service: Service): boolean {
  const { endpoint, spec } = service;
  if (endpoint === undefined) return true;
  return !Buffer.from(bytesOf(endpoint.spec)).equals(bytesOf(spec?.endpoint));
}

function bytesOf(spec: EndpointSpec | undefined): Uint8Array {
  return EndpointSpec.encode(spec ?? EndpointSpec.create());
}
