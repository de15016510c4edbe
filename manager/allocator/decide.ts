/**
 * Whether a new task has all it needs from the cluster before it is given a node. Pure.
 *
 * Until the data path is there nothing can be allocated: tasks without networks and without ports of the routing mesh
 * pass at once, and so do ports in host mode, which are the node's; the others wait and say why. The networks every node
 * has by itself need nothing either.
 */
import type { Network, PortConfig, Task } from "../../src/common/api/generated/api.ts";

/** What becomes of a new task. */
export type Allocation =
  | {
      readonly kind: "pass";
      /** Networks it is attached to that need no addresses. */
      readonly networks: readonly string[];
      readonly hostPorts: readonly PortConfig[];
    }
  | { readonly kind: "wait"; readonly reason: string };

/** Networks that are the node's own affair, by driver. */
const nodeDrivers: readonly string[] = ["host", "null"];

/** @param networkById Finds the networks the spec names. */
export function allocate(task: Task, networkById: (id: string) => Network | undefined): Allocation {
  const networks = (task.spec?.networks ?? []).map(({ target }) => target);
  const missing = networks.filter((id) => !isNodesOwn(networkById(id)));
  if (missing.length > 0) {
    const names = missing.map((id) => networkById(id)?.spec?.annotations?.name ?? id).join(", ");
    return {
      kind: "wait",
      reason: `network ${names} cannot be attached to yet: overlay networks come with the data path; remove the network from the service, or use the network host`,
    };
  }
  const ports = task.endpoint?.spec?.ports ?? [];
  const mesh = ports.filter(({ publishMode }) => publishMode === "ingress");
  if (mesh.length > 0) {
    const list = mesh
      .map(({ publishedPort, targetPort }) => publishedPort || targetPort)
      .join(", ");
    return {
      kind: "wait",
      reason: `port ${list} cannot be published yet: the routing mesh comes with the data path; publish with mode=host instead`,
    };
  }
  return { kind: "pass", networks, hostPorts: ports };
}

function isNodesOwn(network: Network | undefined): boolean {
  return ownDriverOf(network) !== "";
}

/** Driver of a network that every node has by itself, else "". */
export function ownDriverOf(network: Network | undefined): string {
  const driver = network?.spec?.driver?.name ?? network?.driverState?.name ?? "";
  return nodeDrivers.includes(driver) ? driver : "";
}
