/**
 * Writes of the cluster object: its spec, join tokens and unlock key. Decisions over one transaction.
 */
import {
  type Cluster,
  ClusterSpec,
  Done,
  UnlockKey,
  type UpdateClusterRequest,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { createJoinToken } from "../../src/common/identity/token.ts";
import { unlockKeyBytes } from "../../src/common/identity/unlock-key.ts";
import type { Random } from "../../src/common/random/random.ts";
import { clusterName, nodeCertificateExpiryNsMin } from "../../src/common/spec/cluster-defaults.ts";
import { rebalanceLabel, rebalanceValues } from "../../src/common/spec/rebalance-label.ts";
import type { Tx } from "../state/transaction.ts";
import type { Environment } from "./environment.ts";
import { invalid } from "./names.ts";

/** The subsystem managers' unlock keys belong to. */
const managerSubsystem = "manager";

/** @throws ClusterError with Docker's text. */
export function updateCluster(
  tx: Tx,
  request: UpdateClusterRequest,
  environment: Environment,
): Done {
  const [cluster] = tx.each("cluster");
  if (cluster === undefined) throw new ClusterError("not-found", "the cluster object is missing");
  const spec = request.spec ?? ClusterSpec.create();
  checkClusterSpec(spec);
  checkRootUnchanged(cluster, spec);
  const { random } = environment;
  const changed: Cluster = {
    ...cluster,
    spec,
    rootCa: rotatedTokens(cluster, request, random),
    unlockKeys: unlockKeysFor(cluster.unlockKeys, spec, request.rotateUnlockKey, random),
  };
  tx.update("cluster", changed, request.version);
  return Done.create();
}

/** @throws ClusterError `invalid-argument` with Docker's text. */
export function checkClusterSpec(spec: ClusterSpec): void {
  const expiry = spec.ca?.nodeCertExpiryNs ?? 0;
  if (expiry !== 0 && expiry < nodeCertificateExpiryNsMin)
    throw invalid("minimum certificate expiry time is: 1h0m0s");
  if (spec.dispatcherHeartbeatNs < 0)
    throw invalid("heartbeat time period cannot be a negative duration");
  const rebalance = spec.annotations?.labels[rebalanceLabel];
  if (rebalance !== undefined && !rebalanceValues.some((value) => value === rebalance))
    throw invalid(
      `label ${rebalanceLabel} of the swarm: ${JSON.stringify(rebalance)} is not ${rebalanceValues.join(" or ")}`,
    );
  if (spec.annotations?.name !== clusterName)
    throw invalid("modification of cluster name is not allowed");
}

/** Keys that managers need to start: one when autolock is on, none else. `rotate` makes a new one. */
export function unlockKeysFor(
  present: readonly UnlockKey[],
  spec: ClusterSpec,
  rotate: boolean,
  random: Random,
): readonly UnlockKey[] {
  const others = present.filter((key) => key.subsystem !== managerSubsystem);
  if (!(spec.encryption?.autoLockManagers ?? false)) return others;
  const own = present.find((key) => key.subsystem === managerSubsystem);
  if (own !== undefined && !rotate) return present;
  const key = random.bytes(unlockKeyBytes);
  const version = (own?.version ?? 0) + 1;
  return [...others, UnlockKey.create({ subsystem: managerSubsystem, key, version })];
}

function rotatedTokens(
  cluster: Cluster,
  request: UpdateClusterRequest,
  random: Random,
): Cluster["rootCa"] {
  const { rootCa } = cluster;
  const tokens = rootCa?.joinTokens;
  if (rootCa === undefined || tokens === undefined) return rootCa;
  const root = Buffer.from(rootCa.caCert).toString("utf8");
  return {
    ...rootCa,
    joinTokens: {
      worker: request.rotateWorkerToken ? createJoinToken(root, random) : tokens.worker,
      manager: request.rotateManagerToken ? createJoinToken(root, random) : tokens.manager,
    },
  };
}

/** A request that would change the root is refused rather than stored without effect. */
function checkRootUnchanged(cluster: Cluster, spec: ClusterSpec): void {
  const rotates =
    (spec.ca?.forceRotate ?? 0) !== (cluster.spec?.ca?.forceRotate ?? 0) ||
    (spec.ca?.signingCaCert.length ?? 0) > 0 ||
    (spec.ca?.signingCaKey.length ?? 0) > 0;
  if (rotates)
    throw new ClusterError("unimplemented", "rotating the root CA is not implemented yet");
  if ((spec.ca?.externalCas.length ?? 0) > 0)
    throw new ClusterError(
      "unimplemented",
      "external certificate authorities are not implemented; leave --external-ca away",
    );
}
