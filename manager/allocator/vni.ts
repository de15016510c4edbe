/**
 * Numbers of networks on the wire (VXLAN network ids, RFC 7348). Pure.
 *
 * Numbers go on from the one given last: a node that was cut off may still have the network that had a number before.
 */
import { meshNetworkNumber, networkNumberMax } from "../../src/common/spec/data-path-pools.ts";

/** Which numbers are taken, and by which network. */
export class NetworkNumbers {
  readonly #holders = new Map<number, string>();
  readonly #numbers = new Map<string, number>();
  #last = meshNetworkNumber;

  /** Gives the network a number, the one it has if it has one; undefined when all are taken. */
  take(networkId: string): number | undefined {
    const has = this.#numbers.get(networkId);
    if (has !== undefined) return has;
    const count = networkNumberMax - meshNetworkNumber;
    for (let step = 0; step < count; step++) {
      const number = meshNetworkNumber + 1 + ((this.#last - meshNetworkNumber + step) % count);
      if (this.#holders.has(number)) continue;
      this.note(networkId, number);
      return number;
    }
    return undefined;
  }

  /** Who has the number. */
  holderOf(number: number): string | undefined {
    return this.#holders.get(number);
  }

  /** The network has this number. */
  note(networkId: string, number: number): void {
    this.release(networkId);
    this.#holders.set(number, networkId);
    this.#numbers.set(networkId, number);
    this.#last = Math.max(this.#last, number);
  }

  /** The network has none any more. */
  release(networkId: string): void {
    const number = this.#numbers.get(networkId);
    if (number === undefined) return;
    this.#numbers.delete(networkId);
    if (this.#holders.get(number) === networkId) this.#holders.delete(number);
  }
}
