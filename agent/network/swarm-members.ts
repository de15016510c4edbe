/**
 * Which containers of this node are in networks of the swarm, for the events of the node: as with Docker such a network is
 * made on a node for the first of its containers there, and taken away after the last.
 */
import type { NetworkEvent } from "../../src/common/container/networks.ts";
import type { ClusterState } from "./cluster-state.ts";
import type { Sandbox } from "./sandbox.ts";

/** What it is made with. */
export interface SwarmMembersOptions {
  readonly cluster: () => ClusterState;
  readonly tell: (
    action: NetworkEvent["action"],
    network: NetworkEvent["network"],
    attributes: Readonly<Record<string, string>>,
  ) => void;
}

/** The containers in networks of the swarm. */
export class SwarmMembers {
  readonly #o: SwarmMembersOptions;
  /** Ids of containers by network. */
  readonly #members = new Map<string, Set<string>>();
  /** As they were last seen: a network that goes is told of by its name. */
  readonly #known = new Map<string, NetworkEvent["network"]>();

  constructor(options: SwarmMembersOptions) {
    this.#o = options;
  }

  /** Takes a container of an earlier life of the daemon: nothing happens to it. */
  adopt({ id, overlays }: Sandbox): void {
    for (const { networkId } of overlays) this.#membersOf(networkId).add(id);
  }

  /** The container is in these networks now, and in no others. */
  set(containerId: string, networkIds: readonly string[]): void {
    for (const id of networkIds) {
      const members = this.#membersOf(id);
      if (members.has(containerId)) continue;
      if (members.size === 0) this.#o.tell("create", this.#network(id), {});
      members.add(containerId);
      this.#o.tell("connect", this.#network(id), { container: containerId });
    }
    for (const [id, members] of [...this.#members]) {
      if (networkIds.includes(id) || !members.delete(containerId)) continue;
      this.#o.tell("disconnect", this.#network(id), { container: containerId });
      if (members.size > 0) continue;
      this.#o.tell("destroy", this.#network(id), {});
      this.#members.delete(id);
      this.#known.delete(id);
    }
  }

  #membersOf(networkId: string): Set<string> {
    const found = this.#members.get(networkId) ?? new Set();
    this.#members.set(networkId, found);
    return found;
  }

  #network(id: string): NetworkEvent["network"] {
    const network = this.#o.cluster().networks.get(id);
    const name = network?.spec?.annotations?.name;
    if (name !== undefined) this.#known.set(id, { id, name, driver: "overlay" });
    return this.#known.get(id) ?? { id, name: "", driver: "overlay" };
  }
}
