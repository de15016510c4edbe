/**
 * The feature level: which forms of entries and objects the managers of this cluster all understand.
 *
 * Kept in the cluster object. A manager says its own level when it joins; the level in force is raised, never lowered,
 * once every manager has it. What an older manager would stop at is only written at the level that brought it.
 */
import type { Cluster } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Tx } from "./transaction.ts";
import type { View } from "./view.ts";

/** The level of this version. */
export const featureLevelOwn = 1;

/** The level in force; 0 before there is a cluster. */
export function featureLevel(view: View): number {
  for (const cluster of view.each("cluster")) return cluster.featureLevel;
  return 0;
}

/**
 * Makes sure that a feature may be used.
 *
 * @throws ClusterError failed-precondition while some managers are too old for it.
 */
export function requireFeature(view: View, level: number, feature: string): void {
  const inForce = featureLevel(view);
  if (inForce >= level) return;
  throw new ClusterError(
    "failed-precondition",
    `${feature} needs all managers at feature level ${level}, the cluster is at ${inForce}: upgrade every manager first`,
    { fields: { level: inForce } },
  );
}

/** Raises the level in force to what every manager has; does nothing when that is no higher. */
export function raiseFeatureLevel(tx: Tx, managerLevels: readonly number[]): void {
  const [cluster] = tx.list("cluster");
  if (cluster === undefined || managerLevels.length === 0) return;
  const level = Math.min(...managerLevels);
  if (level <= cluster.featureLevel) return;
  const raised: Cluster = { ...cluster, featureLevel: level };
  tx.update("cluster", raised);
}
