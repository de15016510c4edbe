/**
 * The pure and small parts of the CA: numbers, rates, challenges, certificate state, signing.
 */
import assert from "node:assert/strict";
import { Challenges } from "../../../../manager/ca/challenge.ts";
import { freeNodeNumber } from "../../../../manager/ca/numbers.ts";
import { RateLimit } from "../../../../manager/ca/rate-limit.ts";
import { recordIssue, signingRoot, trustBundle } from "../../../../manager/ca/rotation.ts";
import { lifeMsOf, selfIssue, signRequest } from "../../../../manager/ca/signer.ts";
import {
  CaConfig,
  Cluster,
  ClusterSpec,
  Node,
  type NodeCertificate,
  RootCa,
  Tombstone,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import {
  issueCaCertificate,
  parseCertificate,
} from "../../../../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../../../../src/common/identity/key.ts";
import { createRequest, parseRequest } from "../../../../src/common/identity/request.ts";
import { rootDigest } from "../../../../src/common/identity/root.ts";
import { verifyCertificate } from "../../../../src/common/identity/verify.ts";
import { seededRandom, systemRandom } from "../../../../src/common/random/random.ts";
import { type TestCluster, testCluster } from "../../../support/test-cluster.ts";

const day = 24 * 3600_000;

describe("manager/ca/numbers", () => {
  const nodes = (...numbers: number[]) =>
    numbers.map((number) => Node.create({ id: `n${number}`, number }));
  const freed = (number: number, freedAtMs: number) =>
    Tombstone.create({ id: `number/${number}`, number: { number, freedAtMs } });
  const base = { nodes: nodes(), tombstones: [], reserved: new Set<number>(), nowMs: 10 * day };

  it("takes the lowest number that nobody has, nobody is getting, and that has rested a day", () => {
    assert.equal(freeNodeNumber(base), 1);
    assert.equal(freeNodeNumber({ ...base, nodes: nodes(1, 3) }), 2);
    assert.equal(freeNodeNumber({ ...base, nodes: nodes(1), reserved: new Set([2]) }), 3);
    const tombstones = [freed(1, 9 * day + 1), freed(2, 9 * day)];
    assert.equal(freeNodeNumber({ ...base, tombstones }), 2);
  });

  it("says so when there is none", () => {
    const all = { ...base, reserved: new Set(Array.from({ length: 65_534 }, (_, i) => i + 1)) };
    assert.throws(
      () => freeNodeNumber(all),
      (e) => hasCode(e, "resource-exhausted"),
    );
    all.reserved.delete(65_534);
    assert.equal(freeNodeNumber(all), 65_534);
  });
});

describe("manager/ca/rate-limit", () => {
  it("allows a burst, then the rate, for each key", async () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ clock, rate: { burst: 3, perSecond: 2 }, keysMax: 10 });
    const take = (key: string, times: number) =>
      Array.from({ length: times }, () => limit.take(key)).filter((ok) => ok).length;
    assert.equal(take("a", 10), 3);
    assert.equal(take("b", 1), 1);
    await clock.advance(1000);
    assert.equal(take("a", 10), 2);
    await clock.advance(3_600_000);
    assert.equal(take("a", 10), 3);
  });

  it("remembers a bounded number of keys", () => {
    const limit = new RateLimit({
      clock: new FakeClock(),
      rate: { burst: 1, perSecond: 0 },
      keysMax: 2,
    });
    assert(limit.take("a") && !limit.take("a"));
    assert(limit.take("b") && limit.take("c"));
    assert(limit.take("a"), "the oldest is forgotten");
    assert(!limit.take("c"));
  });
});

describe("manager/ca/challenge", () => {
  it("is good once, for its node, for a minute", async () => {
    const clock = new FakeClock();
    const challenges = new Challenges({ clock, random: seededRandom(1) });
    const nonce = challenges.give("n1");
    assert(!challenges.use(nonce, "n2"));
    assert(challenges.use(nonce, "n1"));
    assert(!challenges.use(nonce, "n1"));
    const late = challenges.give("n1");
    await clock.advance(60_000);
    assert(!challenges.use(late, "n1"));
    assert(!challenges.use(Buffer.alloc(32), "n1"));
  });

  it("keeps a few for a node, the newest", () => {
    const challenges = new Challenges({ clock: new FakeClock(), random: seededRandom(1) });
    const nonces = Array.from({ length: 6 }, () => challenges.give("n1"));
    assert.deepEqual(
      nonces.map((nonce) => challenges.use(nonce, "n1")),
      [false, false, true, true, true, true],
    );
  });

  it("is bounded over all nodes", () => {
    const challenges = new Challenges({ clock: new FakeClock(), random: seededRandom(1) });
    const first = challenges.give("victim");
    for (let i = 0; i < 300; i++) challenges.give(`n${i}`);
    assert(challenges.use(first, "victim"));
  });
});

describe("manager/ca/rotation and signer", () => {
  let old: TestCluster;
  let next: TestCluster;
  let rootCa: RootCa;
  let rotating: RootCa;
  let key: string;
  const nowMs = Date.now();
  const serial = systemRandom.bytes(16);

  before(async () => {
    old = await testCluster();
    next = await testCluster();
    key = await createKey();
    rootCa = RootCa.create({
      caKey: Buffer.from(old.root.key),
      caCert: Buffer.from(old.root.certificate),
      caCertDigest: rootDigest(old.root.certificate),
    });
    const { subject, publicKey } = parseCertificate(next.root.certificate);
    const cross = issueCaCertificate({
      subject,
      publicKey,
      key: next.root.key,
      issuer: old.root,
      notBeforeMs: nowMs - day,
      notAfterMs: nowMs + 365 * day,
      serial,
    });
    rotating = RootCa.create({
      ...rootCa,
      rotation: {
        caKey: Buffer.from(next.root.key),
        caCert: Buffer.from(next.root.certificate),
        crossSignedCert: Buffer.from(cross),
      },
    });
  });

  const clusterWith = (root: RootCa, nodeCertExpiryNs = 0) =>
    Cluster.create({
      id: old.clusterId,
      rootCa: root,
      spec: ClusterSpec.create({ ca: CaConfig.create({ nodeCertExpiryNs }) }),
    });
  const sign = (root: RootCa, role: "worker" | "manager" = "worker") =>
    signRequest({
      cluster: clusterWith(root),
      csr: createRequest(key),
      subject: { nodeId: "n1", role },
      nowMs,
      serial,
    });

  it("signs with the root, for the life the cluster asks for", () => {
    const issued = sign(rootCa);
    const identity = verifyCertificate({ chain: issued.chain, roots: issued.bundle, nowMs });
    assert.equal(identity.role, "worker");
    assert.equal(identity.clusterId, old.clusterId);
    assert.equal(issued.rootDigest, rootCa.caCertDigest);
    assert.equal(lifeMsOf(clusterWith(rootCa)), 90 * day);
    assert.equal(lifeMsOf(clusterWith(rootCa, 2 * 3600 * 1e9)), 2 * 3600_000);
    assert.equal(lifeMsOf(clusterWith(rootCa, 1e9)), 3600_000);
  });

  it("refuses to sign without a CA key", () => {
    const external = RootCa.create({ ...rootCa, caKey: new Uint8Array(0) });
    assert.throws(
      () => sign(external),
      (e) => hasCode(e, "failed-precondition"),
    );
    assert.throws(
      () => signingRoot(undefined),
      (e) => hasCode(e, "failed-precondition"),
    );
  });

  it("signs with the new root during a rotation, so that both old and new nodes accept it", () => {
    const issued = sign(rotating);
    for (const roots of [old.root.certificate, next.root.certificate, trustBundle(rotating)]) {
      assert.equal(verifyCertificate({ chain: issued.chain, roots, nowMs }).nodeId, "n1");
    }
    assert.equal(issued.rootDigest, rootDigest(next.root.certificate));
    assert.equal(issued.bundle, old.root.certificate + next.root.certificate);
  });

  it("remembers the key before the last one, however often the last one is signed", async () => {
    const issue = (before: NodeCertificate | undefined, csr: Uint8Array) =>
      recordIssue(before, {
        role: "worker",
        csr,
        publicKey: parseRequest(csr).publicKey,
        certificate: "x",
        rootDigest: "d",
        notAfterMs: 1,
      });
    const first = createRequest(key);
    const other = createRequest(await createKey());
    const one = issue(undefined, first);
    assert.equal(one.previousCsr.length, 0);
    const two = issue(issue(one, createRequest(key)), other);
    assert.equal(publicOf(two.previousCsr), publicOf(first));
    assert.deepEqual(issue(two, other).previousCsr, two.previousCsr);
    function publicOf(csr: Uint8Array): boolean {
      return Buffer.from(csr).includes(publicKeyOf(key));
    }
  });

  it("lets a manager, and only a manager, issue itself the next certificate over its old key", async () => {
    const cluster = clusterWith(rootCa);
    const later = nowMs + 200 * day;
    const options = { cluster, key, nowMs: later, serial };
    const tls = selfIssue({ ...options, node: { id: "n1", role: "manager" } });
    const identity = verifyCertificate({ chain: tls.certificate, roots: tls.roots, nowMs: later });
    assert.equal(identity.role, "manager");
    assert.equal(identity.nodeId, "n1");
    assert.deepEqual(parseCertificate(tls.certificate).publicKey, publicKeyOf(key));
    for (const node of [undefined, { id: "n1", role: "worker" } as const]) {
      assert.throws(
        () => selfIssue({ ...options, node }),
        (e) => hasCode(e, "failed-precondition"),
      );
    }
  });
});
