/**
 * What stands in for the runtime of a node that runs nothing, in tests.
 */
import type { Containers } from "../../src/common/container/containers.ts";
import type { DataPath } from "../../src/common/container/data-path.ts";
import type { Images } from "../../src/common/container/images.ts";
import type { Networks } from "../../src/common/container/networks.ts";
import type { Runtime, RuntimeFacts } from "../../src/common/container/runtime.ts";
import type { Volumes } from "../../src/common/container/volumes.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** Facts of a node that runs nothing. */
export const noRuntimeFacts: RuntimeFacts = {
  snapshotter: "overlayfs",
  containerdVersion: "",
  containerdCommit: "",
  programs: [],
  init: { name: "", path: "", version: "" },
  cgroupDriver: "cgroupfs",
  cgroupVersion: "2",
  limits: {
    memory: true,
    swap: true,
    cpuQuota: true,
    cpuShares: true,
    cpuset: true,
    pids: true,
    oomKillDisable: true,
  },
  securityOptions: [],
  warnings: [],
};

/** A runtime of which every call is refused with `unavailable` and the reason; the reason stands in its warnings too. */
export function noRuntime(reason: string): Runtime {
  return {
    containers: refusing<Containers>(reason),
    images: refusing<Images>(reason),
    volumes: refusing<Volumes>(reason),
    networks: refusing<Networks>(reason),
    dataPath: refusing<DataPath>(reason),
    facts: () => ({ ...noRuntimeFacts, warnings: [`WARNING: ${reason}`] }),
  };
}

/** An object all of whose methods throw. */
function refusing<T extends object>(reason: string): T {
  const refuse = () => {
    throw new ClusterError("unavailable", reason);
  };
  // A promise is told by its `then`: this is none, and may be handed through one.
  return new Proxy({} as T, { get: (_, name) => (name === "then" ? undefined : refuse) });
}
