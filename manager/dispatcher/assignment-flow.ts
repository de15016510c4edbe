/**
 * Keeps the agent of one session told of what its node has to have.
 */
import type { Assignments } from "../../src/common/api/generated/api.ts";
import {
  type AssignmentSource,
  changesFor,
  fullMessagesOf,
  messagesOf,
  nothingTold,
} from "./assignments.ts";
import { type FlowPorts, MessageFlow, type Speaker } from "./message-flow.ts";

/** The assignments of one session. */
export class AssignmentFlow implements Speaker<Assignments> {
  readonly #nodeId: string;
  readonly #source: AssignmentSource;
  readonly #flow: MessageFlow<Assignments>;
  #told = nothingTold;
  /** Ids of what changed since it was last said. */
  #changed: Set<string> | undefined;

  constructor(nodeId: string, source: AssignmentSource, ports: FlowPorts<Assignments>) {
    this.#nodeId = nodeId;
    this.#source = source;
    this.#flow = new MessageFlow(this, ports);
  }

  /** Says everything (again). */
  restart(): void {
    this.#flow.restart();
  }

  /** A task of the node changed in a way that concerns its agent, came or went. */
  taskChanged(taskId: string): void {
    this.#note(taskId);
  }

  /** A secret or config changed; says so if the agent has it. */
  dependencyChanged(id: string): void {
    if (this.#told.secrets.has(id) || this.#told.configs.has(id)) this.#note(id);
  }

  /** The session is over. */
  close(): void {
    this.#flow.close();
  }

  hasNews(): boolean {
    return this.#changed !== undefined;
  }

  full(number: number): Assignments[] {
    this.#changed = undefined;
    const changes = changesFor(this.#nodeId, nothingTold, none, this.#source);
    this.#told = changes.told;
    return fullMessagesOf(changes, number);
  }

  increments(number: number): Assignments[] {
    const changed = this.#changed ?? none;
    this.#changed = undefined;
    const changes = changesFor(this.#nodeId, this.#told, changed, this.#source);
    this.#told = changes.told;
    return messagesOf(changes, number);
  }

  #note(id: string): void {
    // Most of thousands of sessions have none.
    this.#changed ??= new Set();
    this.#changed.add(id);
    this.#flow.wake();
  }
}

const none: ReadonlySet<string> = new Set();
