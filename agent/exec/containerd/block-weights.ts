/**
 * Weights of input and output under version 1 of cgroups: crun writes them to a file that kernels since 5.0 lack, so they are
 * written here once the container has its cgroup. Under version 2 the runtime writes them.
 */
import { existsSync, writeFileSync } from "node:fs";
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import type { CgroupFacts } from "./cgroups.ts";
import { blockDevice } from "./devices.ts";

/** What a weight is written to, in the order of what is tried: that of CFQ, which went, then that of BFQ. */
const schedulers = ["blkio.", "blkio.bfq."] as const;

/** What is done to files of a cgroup. */
export interface CgroupFiles {
  exists(path: string): boolean;
  /** @throws Error with the kernel's reason. */
  write(path: string, text: string): void;
}

const realFiles: CgroupFiles = { exists: existsSync, write: writeFileSync };

/**
 * Sets the weights of a container whose cgroup is there; nothing to do where the runtime does it.
 *
 * @param path Of the cgroup, in the tree.
 * @throws ClusterError failed-precondition where the kernel does not take them, with what is to be done.
 */
export function setBlockWeights(
  cgroups: Pick<CgroupFacts, "version" | "mountOf">,
  path: string,
  config: Pick<ContainerConfig, "extraLimits" | "blkioDevices">,
  files: CgroupFiles = realFiles,
): void {
  const tree = cgroups.mountOf.get("blkio");
  if (cgroups.version !== 1 || tree === undefined) return;
  const weight = config.extraLimits?.blkioWeight ?? 0;
  const devices = (config.blkioDevices ?? []).filter(({ what }) => what === "weight");
  if (weight <= 0 && devices.length === 0) return;
  const folder = `${tree}${path}`;
  const prefix = schedulers.find((one) => files.exists(`${folder}/${one}weight`));
  if (prefix === undefined)
    throw new ClusterError(
      "failed-precondition",
      "this node's kernel has no weights of input and output (CONFIG_BFQ_GROUP_IOSCHED): leave the blkio weight out, or limit rates",
    );
  if (weight > 0) files.write(`${folder}/${prefix}weight`, `${weight}`);
  for (const { path: device, value } of devices) {
    const { major, minor } = blockDevice(device);
    try {
      files.write(`${folder}/${prefix}weight_device`, `${major}:${minor} ${value}`);
    } catch (error) {
      throw new ClusterError(
        "failed-precondition",
        `weight of ${device}: ${errorText(error)}; only devices with the scheduler bfq have weights: choose it in /sys/block/*/queue/scheduler, or leave the weight out`,
        { cause: error },
      );
    }
  }
}
