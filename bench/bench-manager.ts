/**
 * One whole manager with its store at hand, for benchmarks that look into the tables: no agent, no API, certificates and join
 * tokens of its own cluster.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ImageRegistry } from "../manager/images/loop.ts";
import { Manager } from "../manager/manager.ts";
import { ManagerState } from "../manager/manager-state.ts";
import { seedObjects } from "../manager/seed.ts";
import type { Store } from "../manager/state/store.ts";
import { ClusterSpec, NodeDescription } from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import { type Issuer, issueNodeCertificate } from "../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../src/common/identity/key.ts";
import { createRequest } from "../src/common/identity/request.ts";
import { createRootCa, rootDigest } from "../src/common/identity/root.ts";
import { createJoinToken } from "../src/common/identity/token.ts";
import { newId, newRaftId } from "../src/common/ids/ids.ts";
import { newLog } from "../src/common/log/log.ts";
import { systemRandom } from "../src/common/random/random.ts";

const dayMs = 24 * 3600_000;
/** Longest a manager may take to lead, milliseconds. */
const readyMsMax = 20_000;

/** A manager that leads its cluster. */
export interface BenchManager {
  readonly manager: Manager;
  readonly store: Store;
  /** Where it listens. */
  readonly address: string;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly root: Issuer;
  readonly workerToken: string;
  /** Ends it and removes its files. */
  stop(): Promise<void>;
}

/** Stands for every image, without a registry. */
const anyImage: ImageRegistry = {
  resolve: async () => ({ digest: `sha256:${"0".repeat(64)}`, platforms: [] }),
};

/** Starts one; its node takes no tasks. */
export async function startBenchManager(
  listen: { readonly host: string; readonly port: number },
  registry = anyImage,
): Promise<BenchManager> {
  const home = await mkdtemp(join(tmpdir(), "skep-bench-manager-"));
  const member = { raftId: newRaftId(systemRandom), nodeId: newId(systemRandom) };
  const address = `${listen.host}:${listen.port}`;
  const clusterId = newId(systemRandom);
  const root = await createRootCa({ nowMs: Date.now() - dayMs, random: systemRandom });
  const workerToken = createJoinToken(root.certificate, systemRandom);
  const log = newLog((line) => process.stderr.write(`${line}\n`), { level: "warn" });
  const tools = { clock: systemClock, random: systemRandom, log };
  const folder = join(home, "raft");
  const keysPath = join(home, "keys.json");
  const nodeKey = systemRandom.bytes(32);
  const state = await ManagerState.open({ folder, keysPath, nodeKey, ...tools });
  const key = await createKey();
  const issued = issueNodeCertificate({
    issuer: root,
    publicKey: publicKeyOf(key),
    nodeId: member.nodeId,
    role: "manager",
    clusterId,
    nowMs: Date.now(),
    lifeMs: dayMs,
    serial: systemRandom.bytes(16),
  });
  const manager = await Manager.start({
    state,
    folder,
    member: { ...member, address },
    clusterId,
    listen,
    relayPath: join(home, "relay.sock"),
    tls: { key, certificate: issued.certificate, roots: root.certificate },
    start: {
      kind: "bootstrap",
      seed: seed({ root, workerToken, clusterId, address, key, ...member, issued }),
    },
    profile: "normal",
    registry,
    onKeys: async () => {},
    onRemoved: () => {},
    ...tools,
  });
  await manager.ready(AbortSignal.timeout(readyMsMax));
  return {
    ...{ manager, store: state.store, address, nodeId: member.nodeId, clusterId, root },
    workerToken,
    stop: async () => {
      await manager.stop({ transfer: false });
      await rm(home, { recursive: true, force: true });
    },
  };
}

function seed(o: {
  readonly root: Issuer;
  readonly workerToken: string;
  readonly clusterId: string;
  readonly address: string;
  readonly key: string;
  readonly raftId: number;
  readonly nodeId: string;
  readonly issued: { readonly certificate: string; readonly notAfterMs: number };
}): ReturnType<typeof seedObjects> {
  const [host = ""] = o.address.split(":");
  return seedObjects({
    clusterId: o.clusterId,
    spec: ClusterSpec.create({}),
    rootCa: {
      key: o.root.key,
      certificate: o.root.certificate,
      digest: rootDigest(o.root.certificate),
    },
    joinTokens: { worker: o.workerToken, manager: "" },
    unlockKey: undefined,
    defaultAddressPool: [],
    subnetSize: 24,
    dataPathPort: 0,
    node: {
      id: o.nodeId,
      // Tasks are for the agents: the manager's own node has none.
      availability: "drain",
      description: NodeDescription.create({ hostname: "manager" }),
      address: host,
      dataPathAddress: host,
      raftId: o.raftId,
      managerAddress: o.address,
      csr: createRequest(o.key),
      ...o.issued,
    },
    networkIds: [newId(systemRandom), newId(systemRandom), newId(systemRandom)],
  });
}
