/**
 * What a new cluster's spec holds when the user says nothing (docker-facts 1.1 to 1.3). Pure.
 */
import {
  Annotations,
  CaConfig,
  ClusterSpec,
  EncryptionConfig,
  RaftConfig,
} from "../api/generated/api.ts";

/** The only name a cluster may have. */
export const clusterName = "default";
/** 90 days. */
export const nodeCertificateExpiryNs = 90 * 24 * 3600 * 1e9;
/** 1 hour; shorter ones would be renewed all the time. */
export const nodeCertificateExpiryNsMin = 3600 * 1e9;
/** Agents report every 5 s. */
export const dispatcherHeartbeatNs = 5e9;
/** Pool that networks get their subnets from. */
export const defaultAddressPool: readonly string[] = ["10.0.0.0/8"];
/** Prefix length of such a subnet. */
export const defaultSubnetSize = 24;
/** UDP port of VXLAN (RFC 7348). */
export const defaultVxlanPort = 4789;

/** Raft options as Docker shows them; election and heartbeat are in its ticks of one second. */
export const defaultRaftConfig: RaftConfig = RaftConfig.create({
  snapshotInterval: 10_000,
  keepOldSnapshots: 0,
  logEntriesForSlowFollowers: 500,
  electionTick: 10,
  heartbeatTick: 1,
});

/** The spec of a cluster made without options. */
export const defaultClusterSpec: ClusterSpec = ClusterSpec.create({
  annotations: Annotations.create({ name: clusterName }),
  raft: defaultRaftConfig,
  dispatcherHeartbeatNs,
  ca: CaConfig.create({ nodeCertExpiryNs: nodeCertificateExpiryNs }),
  encryption: EncryptionConfig.create(),
  taskHistoryRetentionLimit: 5,
});
