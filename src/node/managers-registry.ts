/**
 * Where managers ask what the images of services stand for: the registries, or none.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { Registry } from "../common/registry/registry.ts";

/** Docker's switch, in the daemon's environment: what is on the nodes is used, and no registry asked for it. */
export const preferOfflineVariable = "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE";

/** Whether the switch is set. */
export function prefersOffline(environment: Readonly<Record<string, string | undefined>>): boolean {
  return environment[preferOfflineVariable] === "1";
}

/** The registries for managers; with the switch none is asked, and so no task waits for an answer, as with Docker. */
export function managersRegistry(
  registry: Pick<Registry, "resolve">,
  isOffline: boolean,
): Pick<Registry, "resolve"> {
  if (!isOffline) return registry;
  return {
    resolve: () => {
      const text = `registries are not asked: ${preferOfflineVariable}=1 is set on the manager`;
      return Promise.reject(new ClusterError("failed-precondition", text));
    },
  };
}
