/** How a node that was removed from its cluster is told apart from one that is refused for another reason. */
import { ClusterError } from "./cluster-error.ts";

/** Whether the cluster said that the node was removed: its id never comes back, so asking again is in vain. */
export function isRemoval(error: unknown): error is ClusterError {
  return error instanceof ClusterError && error.fields["removed"] === true;
}
