/**
 * Keeps the agent of one session told of what its node has to have: the full set first, then what changes.
 *
 * One message is on its way at a time, so that a slow agent holds up nothing but itself: what changes meanwhile is said
 * together, as it is by then.
 */
import type { Assignments } from "../../src/common/api/generated/api.ts";
import {
  type AssignmentSource,
  changesFor,
  fullMessagesOf,
  messagesOf,
  nothingTold,
} from "./assignments.ts";

/** What a flow needs of its session. */
export interface FlowPorts {
  readonly source: AssignmentSource;
  /** Resolves once the next message may follow. */
  send(assignments: Assignments): Promise<void>;
  /** Resolves once this manager knows all that was committed so far. */
  upToDate(): Promise<void>;
  /** The flow cannot go on; the session ends. */
  failed(error: unknown): void;
}

/** The assignments of one session. */
export class AssignmentFlow {
  readonly #nodeId: string;
  readonly #ports: FlowPorts;
  #told = nothingTold;
  /** Ids of what changed since it was last said. */
  #changed = new Set<string>();
  #isFullDue = false;
  #isRunning = false;
  #number = 1;

  constructor(nodeId: string, ports: FlowPorts) {
    this.#nodeId = nodeId;
    this.#ports = ports;
  }

  /** Says everything (again). */
  restart(): void {
    this.#isFullDue = true;
    this.#run();
  }

  /** A task of the node changed in a way that concerns its agent, came or went. */
  taskChanged(taskId: string): void {
    this.#changed.add(taskId);
    this.#run();
  }

  /** A secret or config changed; says so if the agent has it. */
  dependencyChanged(id: string): void {
    if (!this.#told.secrets.has(id) && !this.#told.configs.has(id)) return;
    this.#changed.add(id);
    this.#run();
  }

  #run(): void {
    if (this.#isRunning || (this.#told === nothingTold && !this.#isFullDue)) return;
    this.#isRunning = true;
    this.#flow().then(
      () => {
        this.#isRunning = false;
      },
      (error: unknown) => this.#ports.failed(error),
    );
  }

  async #flow(): Promise<void> {
    // Changes of one commit come one by one: they are said together.
    await Promise.resolve();
    while (this.#isFullDue || this.#changed.size > 0) {
      for (const message of this.#isFullDue ? await this.#full() : this.#increments()) {
        this.#number = message.number + 1;
        await this.#ports.send(message);
      }
    }
  }

  /** What an older state lacks would be taken for removed: so nothing is said in full before this manager is up to date. */
  async #full(): Promise<Assignments[]> {
    this.#isFullDue = false;
    await this.#ports.upToDate();
    this.#changed.clear();
    const changes = changesFor(this.#nodeId, nothingTold, this.#changed, this.#ports.source);
    this.#told = changes.told;
    return fullMessagesOf(changes, this.#number);
  }

  #increments(): Assignments[] {
    const changed = this.#changed;
    this.#changed = new Set();
    const changes = changesFor(this.#nodeId, this.#told, changed, this.#ports.source);
    this.#told = changes.told;
    return messagesOf(changes, this.#number);
  }
}
