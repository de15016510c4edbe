/**
 * The cluster between JSON and the schema: what clients send to init, join and update, and what they are shown.
 */
import assert from "node:assert/strict";
import { Cluster, JoinTokens, RootCa } from "../../../../../src/common/api/generated/api.ts";
import { createRootCa } from "../../../../../src/common/identity/root.ts";
import { seededRandom } from "../../../../../src/common/random/random.ts";
import { defaultClusterSpec } from "../../../../../src/common/spec/cluster-defaults.ts";
import { bodyObject } from "../../../../../src/engine/translate/reader.ts";
import {
  clusterSpecFromJson,
  clusterToJson,
  initRequestFromJson,
  joinRequestFromJson,
  swarmToJson,
} from "../../../../../src/engine/translate/swarm.ts";

/** As the docker command sends it for a plain `swarm init`. */
const init = {
  ListenAddr: "0.0.0.0:2377",
  AdvertiseAddr: "",
  DataPathAddr: "",
  DataPathPort: 0,
  ForceNewCluster: false,
  Spec: {
    Labels: null,
    Orchestration: {},
    Raft: { ElectionTick: 0, HeartbeatTick: 0 },
    Dispatcher: {},
    CAConfig: {},
    TaskDefaults: {},
    EncryptionConfig: { AutoLockManagers: false },
  },
  AutoLockManagers: false,
  Availability: "",
  DefaultAddrPool: null,
  SubnetSize: 24,
};

describe("src/engine/translate/swarm", () => {
  it("fills a plain init with the defaults", () => {
    const request = initRequestFromJson(bodyObject(init));
    assert.deepEqual(request.spec, defaultClusterSpec);
    assert.equal(request.availability, "active");
    assert.equal(request.subnetSize, 24);
    assert.deepEqual(request.defaultAddressPool, []);
  });

  it("takes autolock from either place", () => {
    const outer = initRequestFromJson(bodyObject({ ...init, AutoLockManagers: true }));
    const inner = { ...init.Spec, EncryptionConfig: { AutoLockManagers: true } };
    const nested = initRequestFromJson(bodyObject({ ...init, Spec: inner }));
    for (const request of [outer, nested])
      assert.equal(request.spec.encryption?.autoLockManagers, true);
  });

  it("refuses what init does not take", () => {
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ ListenAddr: "" }, /invalid ListenAddr "": invalid empty address/],
      [{ DataPathPort: 80 }, /Datapath port number is not in valid range \(1024-49151\) : 80/],
      [{ DataPathPort: 49152 }, /Datapath port number is not in valid range/],
      [{ DefaultAddrPool: ["10.0.0.0"] }, /invalid CIDR: "10\.0\.0\.0"/],
      [{ DefaultAddrPool: ["10.0.0.0/28"] }, /Subnet size is too small for pool: 24/],
      [{ DefaultAddrPool: ["10.0.0.0/8", "10.1.0.0/16"] }, /10\.1\.0\.0\/16 overlaps/],
      [{ DefaultAddrPool: ["fd00::/8"] }, /is not IPv4/],
      [{ SubnetSize: 33 }, /subnet size is out of range: 33/],
      [{ Availability: "asleep" }, /invalid Availability: "asleep"/],
      [{ Spec: { Name: "mine" } }, /swarm spec must be named "default"/],
      [{ Spec: { CAConfig: { ExternalCAs: [{ Protocol: "acme" }] } } }, /invalid protocol: "acme"/],
    ];
    for (const [change, expected] of cases)
      assert.throws(() => initRequestFromJson(bodyObject({ ...init, ...change })), expected);
  });

  it("needs an address to join", () => {
    const join = { ListenAddr: "0.0.0.0:2377", RemoteAddrs: ["10.0.0.1:2377"], JoinToken: "t" };
    assert.deepEqual(joinRequestFromJson(bodyObject(join)).remoteAddresses, ["10.0.0.1:2377"]);
    for (const [RemoteAddrs, expected] of [
      [[], /at least 1 RemoteAddr is required to join/],
      [[""], /invalid remoteAddr "": invalid empty address/],
    ] as const)
      assert.throws(() => joinRequestFromJson(bodyObject({ ...join, RemoteAddrs })), expected);
  });

  it("gives back a spec that was shown", () => {
    const cluster = Cluster.create({ id: "c", spec: defaultClusterSpec });
    const shown = JSON.parse(JSON.stringify(clusterToJson(cluster)));
    assert.deepEqual(shown.Spec, {
      Name: "default",
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: 5 },
      Raft: {
        SnapshotInterval: 10000,
        KeepOldSnapshots: 0,
        LogEntriesForSlowFollowers: 500,
        ElectionTick: 10,
        HeartbeatTick: 1,
      },
      Dispatcher: { HeartbeatPeriod: 5e9 },
      CAConfig: { NodeCertExpiry: 7.776e15 },
      TaskDefaults: {},
      EncryptionConfig: { AutoLockManagers: false },
    });
    assert.deepEqual(clusterSpecFromJson(bodyObject(shown.Spec)), defaultClusterSpec);
  });

  it("shows the root with its subject and key, the tokens, and no key of the CA", async () => {
    const root = await createRootCa({ nowMs: 1_700_000_000_000, random: seededRandom(1) });
    const joinTokens = JoinTokens.create({ worker: "w", manager: "m" });
    const cluster = Cluster.create({
      id: "c",
      spec: defaultClusterSpec,
      rootCa: RootCa.create({
        caCert: Buffer.from(root.certificate),
        caKey: Buffer.from(root.key),
        joinTokens,
      }),
    });
    const shown = JSON.parse(JSON.stringify(swarmToJson(cluster)));
    assert.deepEqual(shown.JoinTokens, { Worker: "w", Manager: "m" });
    assert.equal(shown.TLSInfo.TrustRoot, root.certificate);
    const subject = Buffer.from(shown.TLSInfo.CertIssuerSubject, "base64");
    assert.ok(subject.includes("swarm-ca"));
    assert.equal(Buffer.from(shown.TLSInfo.CertIssuerPublicKey, "base64").length, 91);
    assert.ok(!JSON.stringify(shown).includes("PRIVATE KEY"));
    assert.deepEqual(shown.DefaultAddrPool, ["10.0.0.0/8"]);
    assert.equal(shown.SubnetSize, 24);
    assert.equal(shown.DataPathPort, 4789);
    assert.equal(shown.RootRotationInProgress, false);
  });
});
