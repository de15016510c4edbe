/**
 * Picks the number of a new node: 1 to 65,534, unique, and not one that was freed within the last day. Pure.
 */
import type { Node, Tombstone } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { nodeNumberMax, nodeNumberRestMs } from "../../src/common/limits/limits.ts";

/**
 * The lowest number that is free.
 *
 * @param reserved Numbers given out whose nodes are not in the tables yet.
 * @throws ClusterError resource-exhausted when there is none.
 */
export function freeNodeNumber(options: {
  readonly nodes: Iterable<Node>;
  readonly tombstones: Iterable<Tombstone>;
  readonly reserved: ReadonlySet<number>;
  readonly nowMs: number;
}): number {
  const taken = new Set(options.reserved);
  for (const node of options.nodes) taken.add(node.number);
  for (const { number } of options.tombstones) {
    if (number !== undefined && options.nowMs < number.freedAtMs + nodeNumberRestMs) {
      taken.add(number.number);
    }
  }
  for (let number = 1; number <= nodeNumberMax; number++) {
    if (!taken.has(number)) return number;
  }
  throw new ClusterError(
    "resource-exhausted",
    `all ${nodeNumberMax} node numbers are taken; those of removed nodes become free after a day`,
  );
}
