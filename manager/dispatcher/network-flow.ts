/**
 * Keeps the agent of one session told of the data path, as far as its node needs it.
 */
import type { NetworkUpdate } from "../../src/common/api/generated/api.ts";
import { type FlowPorts, MessageFlow, type Speaker } from "./message-flow.ts";
import type { NetworkIndex, NetworkReader } from "./network-index.ts";
import { fullNetworkMessagesOf, networkMessagesOf } from "./network-messages.ts";
import { type Increment, NetworkPosition } from "./network-position.ts";

/** The data path of one session. */
export class NetworkFlow implements NetworkReader, Speaker<NetworkUpdate> {
  readonly nodeId: string;
  readonly #index: NetworkIndex;
  readonly #position: NetworkPosition;
  readonly #flow: MessageFlow<NetworkUpdate>;
  #isAwake = false;

  constructor(nodeId: string, index: NetworkIndex, ports: FlowPorts<NetworkUpdate>) {
    this.nodeId = nodeId;
    this.#index = index;
    this.#position = new NetworkPosition(index, this);
    this.#flow = new MessageFlow(this, ports);
  }

  /** Says everything (again). */
  restart(): void {
    this.#flow.restart();
  }

  wake(): void {
    this.#isAwake = true;
    this.#flow.wake();
  }

  /** Number of the last message that was said; 0 before the first. */
  get said(): number {
    return this.#flow.said;
  }

  /** Resolves once everything is said; undefined when it is. */
  saying(): Promise<void> | undefined {
    return this.#flow.saying();
  }

  /** The session is over. */
  close(): void {
    this.#flow.close();
    this.#position.close();
  }

  hasNews(): boolean {
    return this.#isAwake;
  }

  async full(number: number): Promise<NetworkUpdate[] | undefined> {
    await this.#index.loaded();
    const mesh = await this.#index.sharedMesh();
    this.#position.begin(mesh);
    const said = await this.#next();
    return said && fullNetworkMessagesOf([...mesh.pieces, ...said.shared], said.changes, number);
  }

  async increments(number: number): Promise<NetworkUpdate[] | undefined> {
    const said = await this.#next();
    return said && networkMessagesOf(said.shared, said.changes, number);
  }

  async #next(): Promise<Increment | undefined> {
    const everyone = this.#position.lacksEveryone ? await this.#index.sharedPeers() : undefined;
    this.#isAwake = false;
    return this.#position.increment(everyone);
  }
}
