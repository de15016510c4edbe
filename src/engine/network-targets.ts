/**
 * Networks of a service: from the names and ids a user writes to the ids of swarm networks.
 *
 * The networks every node has (`bridge`, `host`) are stood for by objects of the swarm with the predefined label; a client
 * may name them by the local id it was shown.
 */
import type { ServiceSpec } from "../common/api/generated/api.ts";
import { ClusterError, hasCode } from "../common/errors/cluster-error.ts";
import type { EngineContext } from "./context.ts";
import type { ObjectView } from "./ports.ts";

/**
 * A copy of the spec whose networks are ids.
 * @throws ClusterError `not-found` for an unknown network, `permission-denied` for one that services cannot use.
 */
export function resolveNetworks(
  context: EngineContext,
  view: ObjectView,
  spec: ServiceSpec,
): ServiceSpec {
  if (spec.task === undefined) return spec;
  const networks = spec.task.networks.map((attachment) => ({
    ...attachment,
    target: networkId(context, view, attachment.target),
  }));
  return { ...spec, task: { ...spec.task, networks } };
}

function networkId(context: EngineContext, view: ObjectView, target: string): string {
  try {
    return view.lookup("network", target).id;
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
    const local = context.ports.runtime.networks
      .list()
      .find((network) => network.id === target || network.name === target);
    if (local === undefined) throw error;
    const [standIn] = view.byName("network", local.name);
    if (standIn !== undefined) return standIn.id;
    throw new ClusterError(
      "permission-denied",
      `The network ${local.name} cannot be used with services. Only networks scoped to the swarm can be used, ` +
        "such as those created with the overlay driver.",
    );
  }
}
