/**
 * Addresses that the node gives to containers of its own accord: unique on the node, and not given again soon.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** Addresses of 172.18.0.0/16 but for network, gateway and broadcast. */
const size = 65_533;

/** The addresses that are in use. */
export class GatewayPool {
  readonly #used = new Set<string>();
  #next = 0;

  /** @param first Position to begin at, so that another life of the daemon does not begin with what was just given back. */
  constructor(first: number) {
    this.#next = first % size;
  }

  /** Marks one that a container has already. */
  take(address: string): void {
    this.#used.add(address);
  }

  /** Gives one out. @throws ClusterError resource-exhausted. */
  give(): string {
    for (let tries = 0; tries < size; tries++) {
      const position = this.#next + 2;
      this.#next = (this.#next + 1) % size;
      const address = `172.18.${position >> 8}.${position & 255}`;
      if (this.#used.has(address)) continue;
      this.#used.add(address);
      return address;
    }
    throw new ClusterError(
      "resource-exhausted",
      "no address is free for another container on this node",
    );
  }

  free(address: string): void {
    this.#used.delete(address);
  }
}
