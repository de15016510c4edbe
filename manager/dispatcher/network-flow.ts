/**
 * Keeps the agent of one session told of the data path: everything first, then what changes.
 *
 * As with assignments one message is on its way at a time, and what changes meanwhile is said together.
 */
import type { NetworkUpdate } from "../../src/common/api/generated/api.ts";
import type { NetworkIndex, NetworkReader } from "./network-index.ts";
import { fullNetworkMessagesOf, networkMessagesOf } from "./network-messages.ts";
import { NetworkPosition } from "./network-position.ts";

/** What a flow needs of its session. */
export interface NetworkFlowPorts {
  readonly index: NetworkIndex;
  /** Resolves once the next message may follow. */
  send(update: NetworkUpdate): Promise<void>;
  /** Resolves once this manager knows all that was committed so far. */
  upToDate(): Promise<void>;
  /** The flow cannot go on; the session ends. */
  failed(error: unknown): void;
}

/** The data path of one session. */
export class NetworkFlow implements NetworkReader {
  readonly nodeId: string;
  readonly #ports: NetworkFlowPorts;
  readonly #position: NetworkPosition;
  #isFullDue = false;
  #isAwake = false;
  #isRunning = false;
  #hasBegun = false;
  #isClosed = false;
  #number = 1;

  constructor(nodeId: string, ports: NetworkFlowPorts) {
    this.nodeId = nodeId;
    this.#ports = ports;
    this.#position = new NetworkPosition(ports.index, this);
  }

  /** Says everything (again). */
  restart(): void {
    this.#isFullDue = true;
    this.#hasBegun = true;
    this.#run();
  }

  wake(): void {
    this.#isAwake = true;
    this.#run();
  }

  /** The session is over. */
  close(): void {
    this.#isClosed = true;
    this.#position.close();
  }

  #run(): void {
    if (this.#isRunning || this.#isClosed || !this.#hasBegun) return;
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
    while (!this.#isClosed && (this.#isFullDue || this.#isAwake)) {
      for (const message of this.#isFullDue ? await this.#full() : this.#increments()) {
        if (this.#isClosed) return;
        this.#number = message.number + 1;
        await this.#ports.send(message);
      }
    }
  }

  async #full(): Promise<NetworkUpdate[]> {
    this.#isFullDue = false;
    // What an older state lacks would be taken for removed.
    await this.#ports.upToDate();
    const { index } = this.#ports;
    await index.loaded();
    const shared = await index.shared();
    if (this.#isClosed) return [];
    this.#isAwake = false;
    this.#position.begin(shared);
    const changes = this.#position.increment();
    if (changes !== undefined) return fullNetworkMessagesOf(shared.pieces, changes, this.#number);
    this.#isFullDue = true;
    return [];
  }

  #increments(): NetworkUpdate[] {
    this.#isAwake = false;
    const changes = this.#position.increment();
    if (changes === undefined) {
      this.#isFullDue = true;
      return [];
    }
    return networkMessagesOf(changes, this.#number);
  }
}
