/**
 * A full disk, told from containerd's other failures: it passes the kernel's words on under no code of their own.
 */
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";

/** The same error, or `resource-exhausted` with what helps when it means that the disk is full. */
export function diskFull(error: unknown): unknown {
  if (!/no space left on device|disk quota exceeded/i.test(errorText(error))) return error;
  if (error instanceof ClusterError && error.code === "resource-exhausted") return error;
  return new ClusterError(
    "resource-exhausted",
    "no space left on device: free some on the disk of the data root, such as with docker image prune",
    { cause: error },
  );
}
