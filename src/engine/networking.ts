/**
 * What of a container's networks is shown with it.
 */
import type { Container } from "../common/container/types.ts";
import type { EngineContext } from "./context.ts";
import type { ContainerNetworking } from "./translate/endpoint.ts";

/** As it is now. */
export function networkingOf(context: EngineContext, container: Container): ContainerNetworking {
  const { networks } = context.ports.runtime;
  const local = networks.list();
  return {
    joins: networks.joinsOf(container),
    places: networks.placesOf(container.id),
    idOf: (name) => local.find((network) => network.name === name)?.id ?? "",
  };
}
