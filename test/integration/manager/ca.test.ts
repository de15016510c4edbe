/**
 * NodeCa over real RPC: a leader and a follower with one store, and nodes that join, renew, and come back.
 */
import assert from "node:assert/strict";
import type { CaStore } from "../../../manager/ca/ports.ts";
import { nodeCaHandlers } from "../../../manager/ca/server.ts";
import type { Store } from "../../../manager/state/store.ts";
import {
  Cluster,
  ClusterSpec,
  IssueNodeCertificateRequest,
  Node,
  NodeCaService,
  type NodeRole,
  RenewExpiredRequest,
  RootCa,
  Tombstone,
  UnlockKey,
} from "../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { ClusterError, type ErrorCode } from "../../../src/common/errors/cluster-error.ts";
import { createKey, signWithKey } from "../../../src/common/identity/key.ts";
import { renewalProof } from "../../../src/common/identity/renewal-proof.ts";
import { createRequest } from "../../../src/common/identity/request.ts";
import { rootDigest } from "../../../src/common/identity/root.ts";
import { createJoinToken } from "../../../src/common/identity/token.ts";
import type { TlsMaterial } from "../../../src/common/identity/types.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import { systemRandom } from "../../../src/common/random/random.ts";
import {
  fetchRoot,
  join,
  type ReceivedIdentity,
  renew,
  renewExpired,
} from "../../../src/common/rpc/ca-client.ts";
import { dial } from "../../../src/common/rpc/client.ts";
import { serve } from "../../../src/common/rpc/server.ts";
import { localStore } from "../../support/local-log.ts";
import { type TestCluster, type TestNode, testCluster } from "../../support/test-cluster.ts";

const day = 24 * 3600_000;

describe("manager/ca over RPC", () => {
  let cluster: TestCluster;
  let store: Store;
  let clock: FakeClock;
  let tokens: { worker: string; manager: string };
  let leaderAddress: string;
  let followerAddress: string;
  let leads: boolean;
  const closers: (() => unknown)[] = [];

  beforeEach(async () => {
    cluster = await testCluster();
    clock = new FakeClock(Date.now());
    leads = true;
    store = localStore({ clock, random: systemRandom }).store;
    tokens = {
      worker: createJoinToken(cluster.root.certificate, systemRandom),
      manager: createJoinToken(cluster.root.certificate, systemRandom),
    };
    await store.update((tx) => tx.create("cluster", clusterObject()));
    const leader = await cluster.node("manager");
    const follower = await cluster.node("manager");
    leaderAddress = await manager(leader, () => leads);
    const link = dial({ address: leaderAddress, tls: follower.tls });
    closers.push(() => link.close());
    followerAddress = await manager(follower, () => false, link);
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  function clusterObject(): Cluster {
    return Cluster.create({
      id: cluster.clusterId,
      spec: ClusterSpec.create({ annotations: { name: "default", labels: {} } }),
      rootCa: RootCa.create({
        caKey: Buffer.from(cluster.root.key),
        caCert: Buffer.from(cluster.root.certificate),
        caCertDigest: rootDigest(cluster.root.certificate),
        joinTokens: tokens,
      }),
      unlockKeys: [
        UnlockKey.create({ subsystem: "manager", key: Buffer.alloc(32, 5), version: 3 }),
      ],
    });
  }

  async function manager(
    node: TestNode,
    isLeader: () => boolean,
    link?: ReturnType<typeof dial>,
  ): Promise<string> {
    const caStore: CaStore = store;
    const server = await serve({
      listen: { host: "127.0.0.1", port: 0 },
      tls: node.tls,
      handlers: nodeCaHandlers({
        store: caStore,
        leader: {
          isLeader,
          call: (method, request, signal) => {
            if (link === undefined)
              return Promise.reject(new ClusterError("unavailable", "no leader"));
            return link.call(method, request, { forwarded: true, ...(signal && { signal }) });
          },
        },
        clock,
        random: systemRandom,
        log: silentLog,
      }),
      standing: (id) =>
        store.view().get("tombstone", `node/${id}`) === undefined ? "unknown" : "removed",
      clock,
      log: silentLog,
    });
    closers.push(() => server.close());
    return `127.0.0.1:${server.port}`;
  }

  async function joined(role: NodeRole, address = leaderAddress): Promise<ReceivedIdentity> {
    const key = await createKey();
    return join({ address, token: tokens[role], key, availability: "active", nowMs: clock.now() });
  }
  const refused = (code: ErrorCode, text: RegExp) => (error: unknown) => {
    assert(error instanceof ClusterError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };
  const remove = (nodeId: string) =>
    store.update((tx) => {
      tx.remove("node", nodeId);
      tx.create(
        "tombstone",
        Tombstone.create({ id: `node/${nodeId}`, node: { nodeId, expiresAtMs: 9e15 } }),
      );
    });

  for (const role of ["worker", "manager"] as const) {
    for (const via of ["leader", "follower"] as const) {
      it(`takes a ${role} in through the ${via}`, async () => {
        const address = via === "leader" ? leaderAddress : followerAddress;
        const { identity, tls } = await joined(role, address);
        assert.equal(identity.role, role);
        assert.equal(identity.clusterId, cluster.clusterId);
        assert.equal(tls.roots, cluster.root.certificate);
        const node = store.view().get("node", identity.nodeId);
        assert.equal(node?.role, role);
        assert.equal(node?.spec?.desiredRole, role);
        assert.equal(node?.membership, "accepted");
        assert.equal(node?.number, 1);
        assert.equal(node?.certificate?.state, "issued");
        assert.equal(node?.certificate?.rootDigest, rootDigest(cluster.root.certificate));
      });
    }
  }

  it("gives nodes that join at once different numbers", async () => {
    const all = await Promise.all(Array.from({ length: 12 }, () => joined("worker")));
    const numbers = all.map(
      ({ identity }) => store.view().get("node", identity.nodeId)?.number ?? 0,
    );
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
  });

  it("makes one node of a join that is tried twice with one key", async () => {
    const key = await createKey();
    const options = {
      address: leaderAddress,
      token: tokens.worker,
      key,
      availability: "drain",
      nowMs: clock.now(),
    } as const;
    const first = await join(options);
    const second = await join(options);
    assert.equal(first.identity.nodeId, second.identity.nodeId);
    assert.equal(store.view().count("node"), 1);
    assert.equal(store.view().get("node", first.identity.nodeId)?.spec?.availability, "drain");
  });

  it("refuses a wrong, a rotated and a malformed token, and a foreign root, in Docker's words", async () => {
    const rotated = tokens.worker;
    const tryJoin = async (token: string) =>
      join({
        address: followerAddress,
        token,
        key: await createKey(),
        availability: "active",
        nowMs: clock.now(),
      });
    tokens.worker = createJoinToken(cluster.root.certificate, systemRandom);
    await store.update((tx) => tx.update("cluster", clusterObject()));
    const wrong = createJoinToken(cluster.root.certificate, systemRandom);
    for (const token of [rotated, wrong]) {
      await assert.rejects(
        tryJoin(token),
        refused("invalid-argument", /^A valid join token is necessary to join this cluster$/),
      );
    }
    await assert.rejects(
      tryJoin("SWMTKN-1-x"),
      refused("invalid-argument", /^invalid join token$/),
    );
    const foreign = createJoinToken((await testCluster()).root.certificate, systemRandom);
    await assert.rejects(
      tryJoin(foreign),
      refused(
        "invalid-argument",
        /^remote CA does not match fingerprint\. Expected: [0-9a-f]{64}$/,
      ),
    );
    assert.equal(store.view().count("node"), 0);
  });

  it("hands out the root to those who know its digest, and nothing beside it", async () => {
    const root = await fetchRoot({
      address: leaderAddress,
      digest: rootDigest(cluster.root.certificate),
    });
    assert.equal(root, cluster.root.certificate);
  });

  it("refuses a bad request, and a certificate to nobody", async () => {
    const client = dial({ address: leaderAddress, tls: { roots: cluster.root.certificate } });
    closers.push(() => client.close());
    const issue = (fields: Partial<IssueNodeCertificateRequest>) =>
      client.call(NodeCaService.issueNodeCertificate, IssueNodeCertificateRequest.create(fields));
    await assert.rejects(
      issue({ token: tokens.worker, csr: Buffer.from("x") }),
      refused("invalid-argument", /certificate request/),
    );
    const csr = createRequest(await createKey());
    await assert.rejects(issue({ csr }), refused("unauthenticated", /join token/));
    const { identity } = await joined("manager");
    await assert.rejects(
      issue({ csr, onBehalfOfNodeId: identity.nodeId, onBehalfOfRole: "manager" }),
      refused("unauthenticated", /join token/),
    );
  });

  it("renews for a member in the role the store says, whatever its certificate says", async () => {
    const { identity, tls } = await joined("worker", followerAddress);
    await store.update((tx) => {
      const node = tx.get("node", identity.nodeId);
      tx.update("node", Node.create({ ...node, role: "manager" }));
    });
    const client = dial({ address: followerAddress, tls });
    closers.push(() => client.close());
    const renewed = await renew({
      client,
      present: tls,
      key: await createKey(),
      nowMs: clock.now(),
    });
    assert.equal(renewed.identity.nodeId, identity.nodeId);
    assert.equal(renewed.identity.role, "manager");
    assert.equal(store.view().get("node", identity.nodeId)?.certificate?.role, "manager");
  });

  it("lets no worker speak for another node", async () => {
    const { tls } = await joined("worker");
    const victim = await joined("manager");
    const client = dial({ address: leaderAddress, tls });
    closers.push(() => client.close());
    const response = await client.call(
      NodeCaService.issueNodeCertificate,
      IssueNodeCertificateRequest.create({
        csr: createRequest(await createKey()),
        onBehalfOfNodeId: victim.identity.nodeId,
        onBehalfOfRole: "manager",
      }),
      { forwarded: true },
    );
    assert.notEqual(response.nodeId, victim.identity.nodeId);
    assert.equal(response.role, "worker");
  });

  it("refuses to renew for a removed node", async () => {
    const { identity, tls } = await joined("worker");
    await remove(identity.nodeId);
    for (const address of [leaderAddress, followerAddress]) {
      const client = dial({ address, tls });
      closers.push(() => client.close());
      await assert.rejects(
        renew({ client, present: tls, key: await createKey(), nowMs: clock.now() }),
        refused("permission-denied", /has been removed from this swarm/),
      );
    }
  });

  describe("for certificates that ran out", () => {
    /** A member whose certificate is from 200 days ago; TLS looks at the real clock, so it is really expired. */
    async function expiredMember(
      role: NodeRole = "worker",
    ): Promise<{ nodeId: string; tls: TlsMaterial }> {
      const { identity, tls } = await joined(role);
      const old = await cluster.node(role, {
        nodeId: identity.nodeId,
        nowMs: Date.now() - 200 * day,
        lifeMs: 90 * day,
        key: tls.key,
      });
      return { nodeId: identity.nodeId, tls: old.tls };
    }
    const back = async (present: TlsMaterial, address = leaderAddress, key?: string) =>
      renewExpired({ address, present, key: key ?? (await createKey()), nowMs: clock.now() });

    for (const via of ["leader", "follower"] as const) {
      it(`takes a member back through the ${via} by its key, without a person`, async () => {
        const { nodeId, tls } = await expiredMember();
        const { identity } = await back(tls, via === "leader" ? leaderAddress : followerAddress);
        assert.equal(identity.nodeId, nodeId);
        assert.equal(identity.role, "worker");
        assert(identity.notAfterMs > clock.now() + 89 * day);
      });
    }

    it("takes it back also when the answer to its last renewal got lost", async () => {
      const { tls } = await expiredMember();
      await back(tls);
      const again = await back(tls);
      await back(again.tls, leaderAddress, again.tls.key);
    });

    it("does not take it back by a key of long ago", async () => {
      const { tls } = await expiredMember();
      const second = await back(tls);
      await back(second.tls);
      await assert.rejects(back(tls), refused("unauthenticated", /member key/));
    });

    it("refuses another key, with or without a certificate of its own", async () => {
      const { nodeId, tls } = await expiredMember();
      await assert.rejects(
        back({ ...tls, key: await createKey() }),
        refused("unauthenticated", /member key/),
      );
      const stranger = await cluster.node("worker", { nodeId, nowMs: Date.now() - 200 * day });
      await assert.rejects(back(stranger.tls), refused("unauthenticated", /member key/));
    });

    it("refuses a removed node and one nobody knows", async () => {
      const { nodeId, tls } = await expiredMember();
      await remove(nodeId);
      for (const address of [leaderAddress, followerAddress]) {
        await assert.rejects(back(tls, address), refused("permission-denied", /has been removed/));
      }
      const unknown = await cluster.node("worker", { nowMs: Date.now() - 200 * day });
      await assert.rejects(
        back(unknown.tls),
        refused("permission-denied", /not part of this swarm/),
      );
    });

    it("refuses a challenge used twice, and one for another node", async () => {
      const { nodeId, tls } = await expiredMember();
      const client = dial({ address: leaderAddress, tls: { roots: tls.roots } });
      closers.push(() => client.close());
      const { nonce } = await client.call(NodeCaService.renewChallenge, { nodeId });
      const csr = createRequest(tls.key);
      const proof = renewalProof({ clusterId: cluster.clusterId, nodeId, nonce, csr });
      const request = RenewExpiredRequest.create({
        nodeId,
        certificate: Buffer.from(tls.certificate),
        csr,
        nonce,
        signature: signWithKey(tls.key, proof),
      });
      await client.call(NodeCaService.renewExpired, request);
      await assert.rejects(
        client.call(NodeCaService.renewExpired, request),
        refused("aborted", /challenge/),
      );
    });

    it("refuses more of them than the rate allows, for a while", async () => {
      const { tls, nodeId } = await expiredMember();
      const client = dial({ address: leaderAddress, tls: { roots: tls.roots } });
      closers.push(() => client.close());
      const ask = () => client.call(NodeCaService.renewChallenge, { nodeId });
      for (let i = 0; i < 40; i++) await ask();
      await assert.rejects(ask(), refused("resource-exhausted", /try again later/));
      await clock.advance(1000);
      await ask();
    });
  });

  it("gives the unlock key to managers only", async () => {
    const asManager = await joined("manager");
    const asWorker = await joined("worker");
    for (const address of [leaderAddress, followerAddress]) {
      const client = dial({ address, tls: asManager.tls });
      closers.push(() => client.close());
      const answer = await client.call(NodeCaService.getUnlockKey, {});
      assert.deepEqual(Buffer.from(answer.unlockKey), Buffer.alloc(32, 5));
      assert.equal(answer.version, 3);
      const other = dial({ address, tls: asWorker.tls });
      closers.push(() => other.close());
      await assert.rejects(
        other.call(NodeCaService.getUnlockKey, {}),
        refused("permission-denied", /is a worker/),
      );
    }
  });

  it("says there is no leader rather than passing a call around", async () => {
    leads = false;
    await assert.rejects(
      joined("worker", followerAddress),
      refused("unavailable", /not the leader/),
    );
    await assert.rejects(joined("worker", leaderAddress), refused("unavailable", /no leader/));
  });
});
