/**
 * When there is a tunnel between nodes: while something here is in a network that is encrypted. Without it nothing of such
 * networks leaves the node.
 */
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { ClusterState } from "./cluster-state.ts";
import { hasMesh, isMeshEncrypted, type PlanInput } from "./plan.ts";
import { wireguardAddress } from "./pools.ts";
import type { Sandbox } from "./sandbox.ts";
import type { Wireguard } from "./wireguard.ts";

/** The tunnel as a plan needs it. */
export interface TunnelPlace {
  readonly secure: PlanInput["secure"];
  /** It was made anew: the kernel took away what led through the one before. */
  readonly isNew: boolean;
}

const noTunnel: TunnelPlace = { secure: undefined, isNew: false };

/** Makes and removes the tunnel of one node. */
export class Tunnel {
  readonly #wireguard: Wireguard;
  readonly #log: Log;
  /** Whether there may be one. */
  #mayBe = true;

  constructor(wireguard: Wireguard, log: Log) {
    this.#wireguard = wireguard;
    this.#log = log;
  }

  /** Makes it what it should be. Never rejects for a tunnel that cannot be made. */
  async place(
    state: ClusterState,
    sandboxes: Iterable<Sandbox>,
    mtu: number,
  ): Promise<TunnelPlace> {
    const { self, peers } = state;
    this.#wireguard.turn(self?.nextWireguardPublicKey ?? new Uint8Array(0));
    if (!isNeeded(state, sandboxes)) {
      if (this.#mayBe) await this.#wireguard.remove();
      this.#mayBe = false;
      return noTunnel;
    }
    this.#mayBe = true;
    // After a start it is as it was, until the managers are heard.
    if (self === undefined) return noTunnel;
    try {
      const others = [...peers.values()].filter(({ nodeId }) => nodeId !== self.nodeId);
      const isNew = await this.#wireguard.ensure(self, others, mtu);
      const { device } = this.#wireguard;
      return { secure: { device, address: wireguardAddress(self.number) }, isNew };
    } catch (error) {
      this.#log.error("encrypted networks reach no other node", { err: errorText(error) });
      return noTunnel;
    }
  }
}

function isNeeded(state: ClusterState, sandboxes: Iterable<Sandbox>): boolean {
  for (const { overlays } of sandboxes) {
    if (overlays.some(({ encrypted }) => encrypted)) return true;
  }
  return hasMesh(state) && isMeshEncrypted(state);
}
