/**
 * Networks of the swarm that each node makes for itself: from the spec that comes with a task. Pure.
 */
import type { NetworkSpec } from "../../../src/common/api/generated/api.ts";
import type { LocalNetworkConfig } from "../../../src/common/container/networks.ts";

/** What the node makes; its settings may be those of another network of the node. */
export function configOf(spec: NetworkSpec): LocalNetworkConfig {
  return {
    name: spec.annotations?.name ?? "",
    driver: spec.driver?.name ?? "",
    labels: spec.annotations?.labels ?? {},
    options: spec.driver?.options ?? {},
    internal: spec.internal,
    ipv6: spec.ipv6Enabled,
    ipam: spec.ipam,
    attachable: spec.attachable,
    configFrom: spec.configFrom,
  };
}
