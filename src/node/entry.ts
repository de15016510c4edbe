/**
 * The two ways into a swarm: making one, and joining one. Each ends with everything a `Member` is started with, on disk.
 */

import type { ManagerStart } from "../../manager/manager.ts";
import { ManagerState, removeManagerState } from "../../manager/manager-state.ts";
import { seedObjects } from "../../manager/seed.ts";
import type { NodeDescription } from "../common/api/generated/api.ts";
import type { Clock } from "../common/clock/clock.ts";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { certificateLifeMs, issueNodeCertificate } from "../common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../common/identity/key.ts";
import { createRequest } from "../common/identity/request.ts";
import { createRootCa, rootDigest } from "../common/identity/root.ts";
import { createJoinToken, parseJoinToken } from "../common/identity/token.ts";
import type { TlsMaterial } from "../common/identity/types.ts";
import { unlockKeyBytes, unlockKeyToText } from "../common/identity/unlock-key.ts";
import { newId, newRaftId } from "../common/ids/ids.ts";
import type { Log } from "../common/log/log.ts";
import type { Random } from "../common/random/random.ts";
import { join, type ReceivedIdentity } from "../common/rpc/ca-client.ts";
import type { InitRequest, JoinRequest } from "../engine/ports.ts";
import {
  defaultPort,
  formatHostPort,
  type InterfaceAddress,
  isOwnAddress,
  parseHostPort,
  resolveAdvertise,
  resolveDataPath,
  resolveListen,
} from "./address.ts";
import type { DaemonConfig } from "./config.ts";
import { saveCredentials } from "./credentials.ts";
import type { NodeState, StateFiles } from "./state-files.ts";

/** What a way in needs. */
export interface EntryTools {
  readonly config: DaemonConfig;
  readonly interfaces: () => readonly InterfaceAddress[];
  readonly description: () => NodeDescription;
  readonly files: StateFiles;
  readonly raftFolder: string;
  readonly nodeKey: () => Promise<Uint8Array>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What a `Member` is started with. */
export interface Entry {
  readonly state: NodeState;
  readonly tls: TlsMaterial;
  readonly nodeKey: Uint8Array;
  readonly managerState: ManagerState | undefined;
  readonly start: ManagerStart;
}

/** Pause between two tries of a join, milliseconds. */
const joinRetryMs = 1000;

/**
 * Makes a new cluster with this node as its first manager.
 *
 * @throws ClusterError invalid-argument for addresses that are not there.
 */
export async function createCluster(request: InitRequest, tools: EntryTools): Promise<Entry> {
  const { clock, random } = tools;
  const addresses = resolveAddresses(request, tools);
  const [nodeId, clusterId, raftId] = [newId(random), newId(random), newRaftId(random)];
  const root = await createRootCa({ nowMs: clock.now(), random });
  const key = await createKey();
  const lifeMs = (request.spec.ca?.nodeCertExpiryNs ?? 0) / 1e6;
  const { certificate, notAfterMs } = issueNodeCertificate({
    issuer: root,
    nodeId,
    clusterId,
    role: "manager",
    publicKey: publicKeyOf(key),
    nowMs: clock.now(),
    lifeMs: lifeMs > 0 ? lifeMs : certificateLifeMs,
    serial: random.bytes(16),
  });
  const tls = { key, certificate, roots: root.certificate };
  const state = {
    ...newState({ nodeId, clusterId, raftId, addresses, managers: [] }),
    initialising: true,
  };
  const autolock = request.spec.encryption?.autoLockManagers === true;
  const unlockKey = autolock ? random.bytes(unlockKeyBytes) : undefined;
  const seed = seedObjects({
    clusterId,
    spec: request.spec,
    rootCa: {
      key: root.key,
      certificate: root.certificate,
      digest: rootDigest(root.certificate),
    },
    joinTokens: {
      worker: createJoinToken(root.certificate, random),
      manager: createJoinToken(root.certificate, random),
    },
    unlockKey,
    defaultAddressPool: request.defaultAddressPool,
    subnetSize: request.subnetSize,
    dataPathPort: request.dataPathPort,
    node: {
      id: nodeId,
      availability: request.availability,
      description: tools.description(),
      address: addresses.advertise.host,
      dataPathAddress: addresses.dataPath,
      raftId,
      managerAddress: formatHostPort(addresses.advertise),
      certificate,
      csr: createRequest(key),
      notAfterMs,
    },
    networkIds: [newId(random), newId(random), newId(random)],
  });
  const unlockText = unlockKey === undefined ? undefined : unlockKeyToText(unlockKey);
  return keep({ state, tls, start: { kind: "bootstrap", seed } }, tools, unlockText);
}

/**
 * Joins a cluster; tries the addresses in turn until one answers or the signal aborts.
 *
 * @throws ClusterError invalid-argument for a bad or refused token and for addresses that are not there; the signal's reason.
 */
export async function joinCluster(
  request: JoinRequest,
  tools: EntryTools,
  signal: AbortSignal,
): Promise<Entry> {
  parseJoinToken(request.joinToken);
  const addresses = resolveAddresses(request, tools);
  const remotes = request.remoteAddresses.map((text) =>
    formatHostPort(parseHostPort(text, defaultPort, "remote address")),
  );
  const { tls, identity } = await obtainCertificate(request, { remotes, tools, signal });
  const { nodeId, clusterId, role } = identity;
  const state = newState({
    nodeId,
    clusterId,
    raftId: role === "manager" ? newRaftId(tools.random) : 0,
    addresses,
    managers: remotes.map((address) => ({ nodeId: "", address })),
  });
  return keep({ state, tls, start: { kind: "join", members: [] } }, tools, undefined);
}

interface Addresses {
  readonly listen: { readonly host: string; readonly port: number };
  readonly advertise: { readonly host: string; readonly port: number };
  readonly advertiseSetting: string;
  readonly advertisesOwnAddress: boolean;
  readonly dataPath: string;
}

function resolveAddresses(
  request: {
    readonly listenAddress: string;
    readonly advertiseAddress: string;
    readonly dataPathAddress: string;
  },
  tools: EntryTools,
): Addresses {
  const interfaces = tools.interfaces();
  const listen = resolveListen(request.listenAddress, interfaces);
  const advertiseSetting =
    request.advertiseAddress === ""
      ? (tools.config.defaultAdvertiseAddress ?? "")
      : request.advertiseAddress;
  const advertise = resolveAdvertise(advertiseSetting, listen, interfaces);
  const dataPath = resolveDataPath(request.dataPathAddress, advertise, interfaces);
  const advertisesOwnAddress = isOwnAddress(advertise.host, interfaces);
  return { listen, advertise, advertiseSetting, advertisesOwnAddress, dataPath };
}

function newState(parts: {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly raftId: number;
  readonly addresses: Addresses;
  readonly managers: NodeState["managers"];
}): NodeState {
  const { addresses } = parts;
  return {
    format: 1,
    nodeId: parts.nodeId,
    clusterId: parts.clusterId,
    raftId: parts.raftId,
    listenAddress: formatHostPort(addresses.listen),
    advertiseSetting: addresses.advertiseSetting,
    advertisesOwnAddress: addresses.advertisesOwnAddress,
    advertiseAddress: formatHostPort(addresses.advertise),
    dataPathAddress: addresses.dataPath,
    managers: parts.managers,
    joining: parts.managers.length > 0,
  };
}

async function obtainCertificate(
  request: JoinRequest,
  way: {
    readonly remotes: readonly string[];
    readonly tools: EntryTools;
    readonly signal: AbortSignal;
  },
): Promise<ReceivedIdentity> {
  const { remotes, tools, signal } = way;
  // The same key for all tries: asking again with it gives the same node.
  const key = await createKey();
  for (let attempt = 0; ; attempt++) {
    const address = remotes[attempt % remotes.length];
    if (address === undefined) {
      throw new ClusterError("invalid-argument", "at least one RemoteAddr is required to join");
    }
    try {
      return await join({
        address,
        token: request.joinToken,
        key,
        availability: request.availability,
        nowMs: tools.clock.now(),
        signal,
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const mayPass =
        error instanceof ClusterError &&
        ["unavailable", "deadline-exceeded", "aborted", "resource-exhausted"].includes(error.code);
      if (!mayPass) throw error;
      tools.log.warn("join not answered yet", { peer: address, err: errorText(error) });
      await tools.clock.sleep(joinRetryMs, signal);
    }
  }
}

/** Writes what the node now is; remains of an earlier membership are removed first. */
async function keep(
  entry: Pick<Entry, "state" | "tls" | "start">,
  tools: EntryTools,
  unlockKey: string | undefined,
): Promise<Entry> {
  const { files, raftFolder, clock, random, log } = tools;
  await removeManagerState({ folder: raftFolder, keysPath: files.keysPath });
  await files.clear();
  const nodeKey = await tools.nodeKey();
  const managerState =
    entry.state.raftId === 0
      ? undefined
      : await ManagerState.open({
          folder: raftFolder,
          keysPath: files.keysPath,
          nodeKey,
          clock,
          random,
          log,
          ...(unlockKey === undefined ? {} : { unlockKey }),
        });
  const dataKeys = managerState?.ring.dataKeys();
  await saveCredentials(files, entry.tls, { dataKeys, random });
  await files.save(entry.state);
  return { ...entry, nodeKey, managerState };
}
