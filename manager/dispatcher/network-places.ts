/**
 * Which nodes have endpoints in which networks, and so which nodes need to know of each other. Pure.
 *
 * Nodes meet in the networks they share. In the mesh that is not enough: clients knock at every node, so every node leads to
 * those that carry published tasks, and these answer through every node. Without such tasks nobody needs anybody there.
 */

/** Ids of networks. */
export interface NetworkIds {
  has(id: string): boolean;
}

/** The places of all nodes. */
export class NetworkPlaces {
  /** How many endpoints a node has in each network. */
  readonly #counts = new Map<string, Map<string, number>>();
  readonly #nodes = new Map<string, Set<string>>();

  /** An endpoint more. @returns Whether it is the node's first there. */
  enter(nodeId: string, networkId: string): boolean {
    const counts = this.#counts.get(nodeId) ?? new Map<string, number>();
    this.#counts.set(nodeId, counts);
    const count = counts.get(networkId) ?? 0;
    counts.set(networkId, count + 1);
    if (count > 0) return false;
    const nodes = this.#nodes.get(networkId) ?? new Set<string>();
    this.#nodes.set(networkId, nodes);
    nodes.add(nodeId);
    return true;
  }

  /** An endpoint less. @returns Whether it was the node's last there. */
  leave(nodeId: string, networkId: string): boolean {
    const counts = this.#counts.get(nodeId);
    const count = counts?.get(networkId) ?? 0;
    if (counts === undefined || count === 0) return false;
    if (count > 1) {
      counts.set(networkId, count - 1);
      return false;
    }
    counts.delete(networkId);
    if (counts.size === 0) this.#counts.delete(nodeId);
    const nodes = this.#nodes.get(networkId);
    nodes?.delete(nodeId);
    if (nodes?.size === 0) this.#nodes.delete(networkId);
    return true;
  }

  /** Whether the node has an endpoint in the network. */
  has(nodeId: string, networkId: string): boolean {
    return this.#nodes.get(networkId)?.has(nodeId) === true;
  }

  networksOf(nodeId: string): Iterable<string> {
    return this.#counts.get(nodeId)?.keys() ?? [];
  }

  nodesOf(networkId: string): Iterable<string> {
    return this.#nodes.get(networkId) ?? [];
  }

  clear(): void {
    this.#counts.clear();
    this.#nodes.clear();
  }

  /**
   * Whether a node needs to know another.
   *
   * @param networks What the node is told of; the mesh's network is among them, wherever its own endpoints are.
   * @param meshId Empty while there is no mesh.
   */
  needs(
    nodeId: string,
    otherId: string,
    { networks, meshId }: { readonly networks: NetworkIds; readonly meshId: string },
  ): boolean {
    if (nodeId === otherId || this.has(nodeId, meshId)) return true;
    for (const id of this.networksOf(otherId)) if (networks.has(id)) return true;
    return false;
  }
}
