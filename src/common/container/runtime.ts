/**
 * The runtime of a node as one thing: its containers, images, volumes and networks, and what `docker info` says of it.
 *
 * Made once at the start of the daemon and handed to the Engine API and to the executor of tasks. While it cannot work,
 * such as without containerd, every call says why.
 */
import type { Containers } from "./containers.ts";
import type { DataPath } from "./data-path.ts";
import type { Images } from "./images.ts";
import type { Networks } from "./networks.ts";
import type { Volumes } from "./volumes.ts";

/** A program that runs containers, such as runc. */
export interface RuntimeProgram {
  readonly name: string;
  readonly path: string;
  /** Empty when unknown. */
  readonly version: string;
}

/** Which limits the kernel of the node can enforce. */
export interface EnforceableLimits {
  readonly memory: boolean;
  readonly swap: boolean;
  readonly cpuQuota: boolean;
  readonly cpuShares: boolean;
  readonly cpuset: boolean;
  readonly pids: boolean;
  readonly oomKillDisable: boolean;
}

/** What `docker info` and `docker version` say of the runtime. */
export interface RuntimeFacts {
  /** Name of the snapshotter, Docker's storage driver. */
  readonly snapshotter: string;
  /** Empty when unknown. */
  readonly containerdVersion: string;
  readonly containerdCommit: string;
  /** All that can be asked for, the default first. */
  readonly programs: readonly RuntimeProgram[];
  /** The init put before a container's program; empty path when there is none. */
  readonly init: RuntimeProgram;
  readonly cgroupDriver: "cgroupfs" | "systemd";
  readonly cgroupVersion: "1" | "2";
  readonly limits: EnforceableLimits;
  /** As in `docker info`: `name=seccomp,profile=builtin`. */
  readonly securityOptions: readonly string[];
  /** What does not work and what helps, for the end of `docker info`. */
  readonly warnings: readonly string[];
}

/** Everything a node runs containers with. */
export interface Runtime {
  readonly containers: Containers;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly networks: Networks;
  readonly dataPath: DataPath;
  /** As it is now; cheap. */
  facts(): RuntimeFacts;
}
