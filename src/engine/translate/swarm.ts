/**
 * The cluster: the Engine API's swarm spec, init and join requests ↔ the schema's. Pure.
 */
import {
  Annotations,
  CaConfig,
  type Cluster,
  ClusterSpec,
  EncryptionConfig,
  ExternalCa,
  type NodeAvailability,
  NodeAvailabilityValues,
  RaftConfig,
} from "../../common/api/generated/api.ts";
import { overlaps, parsePrefix } from "../../common/spec/cidr.ts";
import {
  clusterName,
  defaultAddressPool,
  defaultClusterSpec,
  defaultRaftConfig,
  defaultSubnetSize,
  defaultVxlanPort,
  dispatcherHeartbeatNs,
  nodeCertificateExpiryNs,
} from "../../common/spec/cluster-defaults.ts";
import type { InitRequest, JoinRequest } from "../ports.ts";
import {
  annotationsToJson,
  driverFromJson,
  driverToJson,
  type Json,
  listOrNothing,
  mapOrNothing,
  metaToJson,
  numberOrNothing,
} from "./common.ts";
import { issuerOf } from "./issuer.ts";
import { tlsInfoToJson } from "./node.ts";
import type { JsonObject } from "./reader.ts";

/** @throws ClusterError `invalid-argument` naming the field. */
export function initRequestFromJson(json: JsonObject): InitRequest {
  const spec = clusterSpecFromJson(json.objectOrEmpty("Spec"));
  const pool = json.strings("DefaultAddrPool");
  const subnetSize = json.natural("SubnetSize");
  checkAddressPool(json, pool, subnetSize);
  const autoLockManagers =
    json.bool("AutoLockManagers") || (spec.encryption?.autoLockManagers ?? false);
  return {
    listenAddress: addressFromJson(json, "ListenAddr"),
    advertiseAddress: json.string("AdvertiseAddr"),
    dataPathAddress: json.string("DataPathAddr"),
    dataPathPort: dataPathPortFromJson(json),
    forceNewCluster: json.bool("ForceNewCluster"),
    spec: { ...spec, encryption: EncryptionConfig.create({ autoLockManagers }) },
    availability: availabilityFromJson(json),
    defaultAddressPool: pool,
    subnetSize: subnetSize === 0 ? defaultSubnetSize : subnetSize,
  };
}

/** @throws ClusterError `invalid-argument` naming the field. */
export function joinRequestFromJson(json: JsonObject): JoinRequest {
  const remoteAddresses = json.strings("RemoteAddrs");
  if (remoteAddresses.length === 0) throw json.invalid("at least 1 RemoteAddr is required to join");
  if (remoteAddresses.includes(""))
    throw json.invalid('invalid remoteAddr "": invalid empty address');
  return {
    listenAddress: addressFromJson(json, "ListenAddr"),
    advertiseAddress: json.string("AdvertiseAddr"),
    dataPathAddress: json.string("DataPathAddr"),
    remoteAddresses,
    joinToken: json.string("JoinToken"),
    availability: availabilityFromJson(json),
  };
}

/**
 * A complete spec; what is absent or zero gets its default.
 * @throws ClusterError `invalid-argument` naming the field.
 */
export function clusterSpecFromJson(json: JsonObject): ClusterSpec {
  const name = json.string("Name");
  if (name !== "" && name !== clusterName) throw json.invalid('swarm spec must be named "default"');
  const orchestration = json.objectOrEmpty("Orchestration");
  const heartbeat = json.objectOrEmpty("Dispatcher").integer("HeartbeatPeriod");
  return ClusterSpec.create({
    annotations: Annotations.create({ name: clusterName, labels: json.stringMap("Labels") }),
    raft: raftFromJson(json.objectOrEmpty("Raft")),
    dispatcherHeartbeatNs: heartbeat === 0 ? dispatcherHeartbeatNs : heartbeat,
    ca: caFromJson(json.objectOrEmpty("CAConfig")),
    encryption: EncryptionConfig.create({
      autoLockManagers: json.objectOrEmpty("EncryptionConfig").bool("AutoLockManagers"),
    }),
    taskHistoryRetentionLimit:
      orchestration.optionalInteger("TaskHistoryRetentionLimit") ??
      defaultClusterSpec.taskHistoryRetentionLimit,
    defaultLogDriver: driverFromJson(json.objectOrEmpty("TaskDefaults").object("LogDriver")),
  });
}

/** The cluster without its join tokens, as `GET /info` shows it. Keys never leave. */
export function clusterToJson(cluster: Cluster): Json {
  const root = cluster.rootCa?.caCert ?? new Uint8Array(0);
  const issuer = issuerOf(root);
  const pool = cluster.defaultAddressPool;
  return {
    ID: cluster.id,
    ...metaToJson(cluster.meta),
    Spec: clusterSpecToJson(cluster.spec),
    TLSInfo: tlsInfoToJson(root, issuer.subject, issuer.publicKey),
    RootRotationInProgress: cluster.rootCa?.rotation !== undefined,
    DefaultAddrPool: pool.length === 0 ? defaultAddressPool : pool,
    SubnetSize: cluster.subnetSize === 0 ? defaultSubnetSize : cluster.subnetSize,
    DataPathPort: cluster.vxlanUdpPort === 0 ? defaultVxlanPort : cluster.vxlanUdpPort,
  };
}

/** The cluster with its join tokens, as `GET /swarm` shows it. */
export function swarmToJson(cluster: Cluster): Json {
  const tokens = cluster.rootCa?.joinTokens;
  return {
    ...clusterToJson(cluster),
    JoinTokens: { Worker: tokens?.worker ?? "", Manager: tokens?.manager ?? "" },
  };
}

function clusterSpecToJson(spec: ClusterSpec | undefined): Json {
  const logDriver = driverToJson(spec?.defaultLogDriver);
  const raft = spec?.raft ?? defaultRaftConfig;
  return {
    ...annotationsToJson(spec?.annotations),
    Orchestration: { TaskHistoryRetentionLimit: spec?.taskHistoryRetentionLimit ?? 0 },
    Raft: {
      SnapshotInterval: numberOrNothing(raft.snapshotInterval),
      KeepOldSnapshots: raft.keepOldSnapshots,
      LogEntriesForSlowFollowers: numberOrNothing(raft.logEntriesForSlowFollowers),
      ElectionTick: raft.electionTick,
      HeartbeatTick: raft.heartbeatTick,
    },
    Dispatcher: { HeartbeatPeriod: numberOrNothing(spec?.dispatcherHeartbeatNs ?? 0) },
    CAConfig: caToJson(spec?.ca),
    TaskDefaults: logDriver === undefined ? {} : { LogDriver: logDriver },
    EncryptionConfig: { AutoLockManagers: spec?.encryption?.autoLockManagers ?? false },
  };
}

function raftFromJson(json: JsonObject): RaftConfig {
  const or = (value: number, fallback: number) => (value === 0 ? fallback : value);
  const fallback = defaultRaftConfig;
  return RaftConfig.create({
    snapshotInterval: or(json.natural("SnapshotInterval"), fallback.snapshotInterval),
    keepOldSnapshots: json.natural("KeepOldSnapshots"),
    logEntriesForSlowFollowers: or(
      json.natural("LogEntriesForSlowFollowers"),
      fallback.logEntriesForSlowFollowers,
    ),
    heartbeatTick: or(json.uint32("HeartbeatTick"), fallback.heartbeatTick),
    electionTick: or(json.uint32("ElectionTick"), fallback.electionTick),
  });
}

function caFromJson(json: JsonObject): CaConfig {
  const expiry = json.integer("NodeCertExpiry");
  return CaConfig.create({
    nodeCertExpiryNs: expiry === 0 ? nodeCertificateExpiryNs : expiry,
    externalCas: json.objects("ExternalCAs").map((external) => {
      const protocol = external.string("Protocol").toLowerCase();
      if (protocol !== "cfssl")
        throw json.invalid(`invalid protocol: ${JSON.stringify(external.string("Protocol"))}`);
      return ExternalCa.create({
        protocol,
        url: external.string("URL"),
        options: external.stringMap("Options"),
        caCert: new Uint8Array(Buffer.from(external.string("CACert"))),
      });
    }),
    signingCaCert: new Uint8Array(Buffer.from(json.string("SigningCACert"))),
    signingCaKey: new Uint8Array(Buffer.from(json.string("SigningCAKey"))),
    forceRotate: json.natural("ForceRotate"),
  });
}

/** Neither the signing key nor its certificate is shown: who gets a spec and sends it back must not change the root. */
function caToJson(ca: CaConfig | undefined): Json {
  return {
    NodeCertExpiry: numberOrNothing(ca?.nodeCertExpiryNs ?? 0),
    ExternalCAs: listOrNothing(
      (ca?.externalCas ?? []).map((external) => ({
        Protocol: external.protocol,
        URL: external.url,
        Options: mapOrNothing(external.options),
        CACert: Buffer.from(external.caCert).toString("utf8"),
      })),
    ),
    ForceRotate: numberOrNothing(ca?.forceRotate ?? 0),
  };
}

function addressFromJson(json: JsonObject, name: string): string {
  const address = json.string(name);
  if (address === "") throw json.invalid(`invalid ${name} "": invalid empty address`);
  return address.replace(/^tcp:\/\//, "");
}

function availabilityFromJson(json: JsonObject): NodeAvailability {
  const text = json.string("Availability");
  if (text === "") return "active";
  const availability = NodeAvailabilityValues.find((value) => value === text.toLowerCase());
  if (availability === undefined)
    throw json.invalid(`invalid Availability: ${JSON.stringify(text)}`);
  return availability;
}

function dataPathPortFromJson(json: JsonObject): number {
  const port = json.uint32("DataPathPort");
  if (port !== 0 && (port < 1024 || port > 49151))
    throw json.invalid(`Datapath port number is not in valid range (1024-49151) : ${port}`);
  return port;
}

function checkAddressPool(json: JsonObject, pool: readonly string[], size: number): void {
  if (size > 32) throw json.invalid(`subnet size is out of range: ${size}`);
  const length = size === 0 ? defaultSubnetSize : size;
  const prefixes = pool.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw json.invalid(`invalid CIDR: ${JSON.stringify(text)}`);
    if (prefix.family !== 4)
      throw json.invalid(`default address pool ${text} is not IPv4; give an IPv4 prefix`);
    if (prefix.length > length)
      throw json.invalid(
        `invalid CIDR: ${JSON.stringify(text)}. Subnet size is too small for pool: ${length}`,
      );
    return prefix;
  });
  prefixes.forEach((prefix, i) => {
    if (prefixes.slice(0, i).some((other) => overlaps(prefix, other)))
      throw json.invalid(`default address pool ${pool[i]} overlaps with another one given`);
  });
}
