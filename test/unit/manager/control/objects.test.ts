/**
 * Secrets, configs, networks, nodes and the cluster: what control accepts, stores and refuses.
 */
import assert from "node:assert/strict";
import type { GroupMember } from "../../../../manager/control/environment.ts";
import { keepsQuorumWithout } from "../../../../manager/control/quorum.ts";
import { payloadAt } from "../../../../manager/state/payload.ts";
import {
  Annotations,
  Cluster,
  type ClusterSpec,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  ControlService,
  Driver,
  JoinTokens,
  Network,
  NetworkAttachment,
  NetworkSpec,
  type Node,
  NodeCertificate,
  NodeStatus,
  RootCa,
  SecretReference,
  SecretSpec,
  Service,
  ServiceSpec,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import { createRootCa } from "../../../../src/common/identity/root.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { defaultClusterSpec } from "../../../../src/common/spec/cluster-defaults.ts";
import { networkSpecFromJson } from "../../../../src/engine/translate/network.ts";
import { bodyObject } from "../../../../src/engine/translate/reader.ts";
import { type TestControl, testControl } from "../../../support/control.ts";
import { testNode, testTask } from "../../../support/engine.ts";

const secretSpec = (name: string, text = "x", labels: Record<string, string> = {}) =>
  SecretSpec.create({ annotations: { name, labels }, data: Buffer.from(text) });

describe("manager/control/payloads", () => {
  const create = (control: TestControl, name: string, text?: string) =>
    control.call(ControlService.createSecret, { id: "", spec: secretSpec(name, text) });

  it("holds names to Docker's rule", async () => {
    const control = testControl();
    for (const name of ["a", "a.b-c_d", "9", "A".repeat(64)]) await create(control, name);
    for (const name of ["-a", "a-", ".a", "a/b", "a b", "A".repeat(65), "ä"])
      await assert.rejects(create(control, name), {
        code: "invalid-argument",
        message:
          /^invalid name, only 64 \[a-zA-Z0-9-_\.\] characters allowed, and the start and end character must be/,
      });
    await assert.rejects(create(control, ""), { message: "name must be provided" });
    await assert.rejects(create(control, "A"), {
      code: "already-exists",
      message: "secret A already exists",
    });
  });

  it("refuses drivers it does not have", async () => {
    const control = testControl();
    const driver = (name: string) => ({ name, options: {} });
    const call = (spec: Partial<SecretSpec>) =>
      control.call(ControlService.createSecret, { id: "", spec: { ...secretSpec("a"), ...spec } });
    await assert.rejects(call({ driver: driver("") }), {
      message: "secret driver must have a name",
    });
    await assert.rejects(
      call({ driver: driver("vault") }),
      /secret driver "vault" is not installed/,
    );
    await assert.rejects(
      call({ templating: driver("jinja") }),
      /template driver "jinja" is not supported/,
    );
    await call({ templating: driver("golang") });
  });

  it("keeps the data that an update replaces, under the number of its revision", async () => {
    const control = testControl();
    const { id } = await create(control, "key", "one");
    const view = () => control.store.view();
    const update = (text: string, name = "key") =>
      control.call(ControlService.updateSecret, {
        id,
        version: view().get("secret", id)?.meta?.version ?? 0,
        spec: secretSpec(name, text),
      });
    const texts = () => {
      const data = (revision: number) => payloadAt(view(), "secret", { id, revision })?.spec?.data;
      return [1, 2, 3].map((k) => data(k) && Buffer.from(data(k) ?? []).toString());
    };
    await update("two");
    assert.deepEqual(texts(), ["one", "two", undefined]);
    await update("two");
    await update("");
    assert.equal(view().get("secret", id)?.revision, 2);
    await update("three");
    assert.deepEqual(texts(), ["one", "two", "three"]);
    assert.equal(payloadAt(view(), "secret", { id, revision: 2 })?.id, `${id}.2`);
    await assert.rejects(update("x".repeat(512_000)), {
      code: "invalid-argument",
      message: "secret data must be larger than 0 and less than 512000 bytes",
    });
  });

  it("gives a config as large as may be new data as large", async () => {
    const control = testControl();
    const spec = (letter: string) =>
      ConfigSpec.create({ ...secretSpec("page"), data: Buffer.from(letter.repeat(1_023_999)) });
    const { id } = await control.call(ControlService.createConfig, { id: "", spec: spec("a") });
    const version = control.store.view().get("config", id)?.meta?.version ?? 0;
    await control.call(ControlService.updateConfig, { id, version, spec: spec("b") });
    const first = payloadAt(control.store.view(), "config", { id, revision: 1 });
    assert.equal(Buffer.from(first?.spec?.data ?? []).toString("utf8", 0, 3), "aaa");
    const present = control.store.view().get("config", id);
    assert.equal(Buffer.from(present?.spec?.data ?? []).toString("utf8", 0, 3), "bbb");
  });

  it("updates labels, takes equal or no data, and no other name or template driver", async () => {
    const control = testControl();
    const { id } = await create(control, "key");
    const secret = () => control.store.view().get("secret", id);
    const update = (spec: SecretSpec) =>
      control.call(ControlService.updateSecret, {
        id,
        version: secret()?.meta?.version ?? 0,
        spec,
      });
    await update(secretSpec("key", "x", { a: "1" }));
    await update(secretSpec("key", "", { b: "2" }));
    assert.deepEqual({ ...secret()?.spec?.annotations?.labels }, { b: "2" });
    assert.equal(Buffer.from(secret()?.spec?.data ?? []).toString(), "x");
    await assert.rejects(update(secretSpec("other")), {
      code: "invalid-argument",
      message: "only updates to Labels are allowed",
    });
    const templating = Driver.create({ name: "golang" });
    await assert.rejects(update({ ...secretSpec("key", "y"), templating }), {
      code: "invalid-argument",
      message: /^the template driver of a secret cannot be changed/,
    });
  });

  it("holds data to Docker's limits", async () => {
    const control = testControl();
    const config = (name: string, bytes: number) =>
      control.call(ControlService.createConfig, {
        id: "",
        spec: ConfigSpec.create({ ...secretSpec(name), data: new Uint8Array(bytes) }),
      });
    const secret = (name: string, bytes: number) => create(control, name, "x".repeat(bytes));
    const cases = [
      [secret, "secret", 511_999],
      [config, "config", 1_023_999],
    ] as const;
    for (const [make, kind, bytesMax] of cases) {
      const message = `${kind} data must be larger than 0 and less than ${bytesMax + 1} bytes`;
      const refusal = { code: "invalid-argument", message };
      for (const bytes of [0, bytesMax + 1]) await assert.rejects(make("b", bytes), refusal);
      for (const bytes of [1, bytesMax]) await make(`a${bytes}`, bytes);
    }
  });

  it("does not remove what services use, and names them", async () => {
    const control = testControl();
    const { id } = await create(control, "key");
    const secrets = [SecretReference.create({ secretId: id, secretName: "key" })];
    const configs = [ConfigReference.create({ configId: "c", configName: "page" })];
    await control.store.update((tx) => {
      const annotations = Annotations.create({ name: "page" });
      tx.create("config", Config.create({ id: "c", spec: { ...secretSpec("page"), annotations } }));
      for (const [service, parts] of [
        ["web", { secrets, configs }],
        ["api", { secrets }],
      ] as const) {
        const task = TaskSpec.create({ container: ContainerSpec.create(parts) });
        const named = Annotations.create({ name: service });
        tx.create(
          "service",
          Service.create({ id: service, spec: ServiceSpec.create({ annotations: named, task }) }),
        );
      }
    });
    const remove = () => control.call(ControlService.removeSecret, { id, force: false });
    await assert.rejects(remove(), {
      code: "invalid-argument",
      message: "secret 'key' is in use by the following services: api, web",
    });
    await assert.rejects(control.call(ControlService.removeConfig, { id: "c", force: true }), {
      message: "config 'page' is in use by the following service: web",
    });
    for (const service of ["web", "api"])
      await control.call(ControlService.removeService, { id: service, force: false });
    await remove();
    await control.call(ControlService.removeConfig, { id: "c", force: false });
  });

  it("says when there is nothing to remove", async () => {
    const removed = testControl().call(ControlService.removeConfig, { id: "x", force: false });
    await assert.rejects(removed, { code: "not-found", message: "could not find config x" });
  });
});

describe("manager/control/networks", () => {
  const network = (body: object) => networkSpecFromJson(bodyObject({ Driver: "overlay", ...body }));
  const create = (control: TestControl, body: object) =>
    control.call(ControlService.createNetwork, { id: "", spec: network(body) });
  const ipam = (...Config: object[]) => ({ Name: "n", IPAM: { Config } });

  it("stores subnets of both families and driver options", async () => {
    const control = testControl();
    const pools = [
      { Subnet: "10.9.0.0/24", Gateway: "10.9.0.1", IPRange: "10.9.0.128/25" },
      { Subnet: "fd00:9::/64" },
    ];
    const { id } = await create(control, { ...ipam(...pools), Options: { encrypted: "" } });
    const spec = control.store.view().get("network", id)?.spec;
    assert.deepEqual(
      spec?.ipam?.configs.map(({ subnet }) => subnet),
      ["10.9.0.0/24", "fd00:9::/64"],
    );
    assert.deepEqual({ ...spec?.driver?.options }, { encrypted: "" });
  });

  it("refuses what does not make a network", async () => {
    const control = testControl();
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ Name: "" }, /^meta: name must be provided$/],
      [{ Name: "a b" }, /^name must be valid as a DNS name component$/],
      [
        { Name: "n", Driver: "weave" },
        /^network driver "weave" cannot be used in a swarm; use overlay, macvlan, ipvlan$/,
      ],
      [
        { Name: "n", Driver: "macvlan", Ingress: true },
        /^Ingress network can only be global scope/,
      ],
      [{ Name: "n", ConfigFrom: { Network: "c" } }, /^network driver overlay takes no settings of/],
      [{ Name: "n", Attachable: true, Ingress: true }, /^ingress network cannot be attachable$/],
      [
        { Name: "n", Labels: { "com.docker.swarm.predefined": "" } },
        /^label com\.docker\.swarm\.predefined is for internally created/,
      ],
      [{ Name: "n", IPAM: { Driver: "own" } }, /^ipam driver "own" is not supported/],
      [ipam({ Subnet: "10.0.0.0" }), /^ipam configuration: invalid subnet 10\.0\.0\.0$/],
      [
        ipam({ Subnet: "10.0.0.0/24", Gateway: "10.0.1.1" }),
        /^ipam configuration: subnet 10\.0\.0\.0\/24 does not contain gateway 10\.0\.1\.1$/,
      ],
      [ipam({ Subnet: "10.0.0.0/24", Gateway: "x" }), /^ipam configuration: invalid gateway x$/],
      [
        ipam({ Subnet: "10.0.0.0/24", IPRange: "10.0.0.0/16" }),
        /^ipam configuration: subnet 10\.0\.0\.0\/24 does not contain range/,
      ],
      [
        ipam({ Subnet: "10.0.0.0/24" }, { Subnet: "10.0.0.0/16" }),
        /subnets 10\.0\.0\.0\/24 and 10\.0\.0\.0\/16 overlap/,
      ],
    ];
    for (const [body, message] of cases)
      await assert.rejects(create(control, body), { message }, JSON.stringify(body));
  });

  it("refuses subnets that others have, or nodes between themselves", async () => {
    const control = testControl();
    await create(control, { ...ipam({ Subnet: "10.9.0.0/24" }), Name: "first" });
    const words = "invalid pool request: Pool overlaps with other one on this address space";
    for (const [subnet, rest] of [
      ["10.9.0.128/25", "overlaps with 10.9.0.0/24 of network first"],
      ["10.0.0.0/8", "overlaps with 10.9.0.0/24 of network first"],
      ["172.18.4.0/24", "overlaps with 172.18.0.0/16, which nodes use between themselves"],
    ] as const)
      await assert.rejects(create(control, ipam({ Subnet: subnet })), {
        message: `${words}: subnet ${subnet} ${rest}`,
      });
    await create(control, ipam({ Subnet: "10.9.1.0/24" }));
  });

  it("refuses subnets that would hide the address of a node from containers", async () => {
    const control = testControl();
    const node = { ...testNode("n1", "w1", "worker", 1), outerAddress: "198.51.100.7" };
    const status = NodeStatus.create({ address: "10.9.0.7" });
    await control.store.update((tx) =>
      tx.create("node", { ...node, status, dataPathAddress: "fd09::7" }),
    );
    const words = "invalid pool request: Pool overlaps with other one on this address space";
    for (const [subnet, address] of [
      ["10.9.0.0/24", "10.9.0.7"],
      ["fd09::/64", "fd09::7"],
      ["198.51.100.0/24", "198.51.100.7"],
    ] as const)
      await assert.rejects(create(control, ipam({ Subnet: subnet })), {
        code: "invalid-argument",
        message: `${words}: subnet ${subnet} contains ${address}, the address of node w1, which containers in the network could not reach: choose another --subnet`,
      });
    await create(control, ipam({ Subnet: "10.9.1.0/24" }));
    const lan = { ...ipam({ Subnet: "10.9.0.0/24" }), Name: "lan", Driver: "macvlan" };
    await create(control, lan);
  });

  it("has one ingress network, and keeps it while it is needed", async () => {
    const control = testControl();
    const { id } = await create(control, { Name: "ingress", Ingress: true });
    await assert.rejects(create(control, { Name: "other", Ingress: true }), {
      code: "already-exists",
      message: `ingress network (${id}) is already present`,
    });
    await control.call(ControlService.removeNetwork, { id, force: false });
  });

  it("does not remove the stand-ins of the nodes' own networks", async () => {
    const control = testControl();
    const annotations = { name: "bridge", labels: { "com.docker.swarm.predefined": "true" } };
    const spec = NetworkSpec.create({ annotations });
    await control.store.update((tx) => tx.create("network", Network.create({ id: "b", spec })));
    await assert.rejects(control.call(ControlService.removeNetwork, { id: "b", force: false }), {
      code: "failed-precondition",
      message: "network b (bridge) is a swarm predefined network and cannot be removed",
    });
  });

  it("stays while a task runs in it, and goes when it has ended", async () => {
    const control = testControl();
    const { id } = await create(control, { Name: "back" });
    const networks = [NetworkAttachment.create({ networkId: id })];
    await control.store.update((tx) => tx.create("task", testTask("t1", { networks })));
    const remove = () => control.call(ControlService.removeNetwork, { id, force: false });
    await assert.rejects(remove(), { message: `network ${id} is in use by task t1` });
    await control.store.update((tx) =>
      tx.update("task", testTask("t1", { networks, state: "failed" })),
    );
    await remove();
  });

  it("goes while tasks run in it whose service was removed just before, as `docker stack rm` does", async () => {
    const control = testControl();
    const { id } = await create(control, { Name: "back" });
    const networks = [NetworkAttachment.create({ networkId: id })];
    await control.store.update((tx) =>
      tx.create("task", testTask("t1", { networks, serviceId: "gone" })),
    );
    await control.call(ControlService.removeNetwork, { id, force: false });
    assert.equal(control.store.view().get("network", id), undefined);
  });
});

describe("manager/control/nodes", () => {
  const of = (labels: Record<string, string>) => ({ name: "", labels });
  async function cluster(...nodes: Node[]): Promise<TestControl> {
    const control = testControl();
    await control.store.update((tx) => {
      for (const node of nodes) tx.create("node", node);
    });
    return control;
  }
  const manager = (id: string, number: number) => testNode(id, id, "manager", number);
  const worker = (id: string, number: number) => testNode(id, id, "worker", number);
  const member = (nodeId: string, reachable = true): GroupMember => ({
    raftId: nodeId.length + nodeId.charCodeAt(0),
    nodeId,
    reachable,
    learner: false,
  });
  const down = (node: Node): Node => ({
    ...node,
    status: { state: "down", message: "", address: "" },
  });
  const demote = (control: TestControl, id: string) => {
    const node = control.store.view().get("node", id);
    assert.ok(node?.spec !== undefined);
    const spec = { ...node.spec, desiredRole: "worker" } as const;
    return control.call(ControlService.updateNode, { id, version: node.meta?.version ?? 0, spec });
  };
  const remove = (control: TestControl, id: string, force = false) =>
    control.call(ControlService.removeNode, { id, force });

  it("demotes only while the rest has a quorum", async () => {
    const control = await cluster(manager("self", 1), manager("b", 2), manager("c", 3));
    control.group.members = [member("self"), member("b", false), member("c")];
    await assert.rejects(demote(control, "c"), {
      code: "failed-precondition",
      message: "can't remove member from the raft: this would result in a loss of quorum",
    });
    await demote(control, "b");
    assert.equal(control.store.view().get("node", "b")?.spec?.desiredRole, "worker");
    assert.equal(control.store.view().get("node", "b")?.role, "manager");
  });

  it("refuses labels of ours that mean nothing, and passes over those it has", async () => {
    const node = worker("w", 2);
    const labelled = {
      ...node,
      spec: node.spec && { ...node.spec, annotations: of({ "skep.old": "1" }) },
    };
    const control = await cluster(manager("self", 1), labelled);
    const label = (labels: Record<string, string>) => {
      const present = control.store.view().get("node", "w");
      assert.ok(present?.spec !== undefined);
      const spec = { ...present.spec, annotations: of({ "skep.old": "1", ...labels }) };
      const version = present.meta?.version ?? 0;
      return control.call(ControlService.updateNode, { id: "w", version, spec });
    };
    await label({ rack: "1", "skep.emulation": "allow", "skep.devices": "allow" });
    await assert.rejects(label({ "skep.emulation": "true" }), {
      code: "invalid-argument",
      message: 'label skep.emulation: "true" is not allow',
    });
    await assert.rejects(label({ "skep.emulated": "allow" }), {
      message:
        "label skep.emulated is not known: labels of a node that begin with skep. are skep.emulation, skep.privileged, skep.devices",
    });
  });

  it("never demotes the last manager", async () => {
    const control = await cluster(manager("self", 1), worker("w", 2));
    await assert.rejects(demote(control, "self"), {
      message: "attempting to demote the last manager of the swarm",
    });
  });

  it("removes a node that is down, remembers it and lets its number rest", async () => {
    const certificate = NodeCertificate.create({ notAfterMs: 5_000 });
    const control = await cluster(manager("self", 1), { ...down(worker("w", 7)), certificate });
    await remove(control, "w");
    const view = control.store.view();
    assert.equal(view.get("node", "w"), undefined);
    assert.deepEqual(view.get("tombstone", "node/w")?.node, {
      nodeId: "w",
      expiresAtMs: 5_000 + 604_800_000,
    });
    assert.equal(view.get("tombstone", "number/7")?.number?.number, 7);
  });

  it("refuses to remove what is up, or still a manager", async () => {
    const control = await cluster(manager("self", 1), worker("w", 2), down(manager("m", 3)));
    control.group.members = [member("self"), member("m", false)];
    await assert.rejects(remove(control, "w"), {
      message: "node w is not down and can't be removed",
    });
    await assert.rejects(remove(control, "m", true), {
      message:
        "node m is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal",
    });
    await assert.rejects(remove(control, "x"), { code: "not-found", message: "node x not found" });
    await remove(control, "w", true);
  });

  it("makes orphans of all its tasks, however many", async () => {
    const control = await cluster(manager("self", 1), down(worker("w", 2)));
    const ids = Array.from({ length: 400 }, (_, i) => `t${i}`);
    await control.store.batch(ids, (tx, id) => tx.create("task", testTask(id, { nodeId: "w" })));
    await control.store.update((tx) =>
      tx.create("task", testTask("done", { nodeId: "w", state: "complete" })),
    );
    await remove(control, "w");
    const states = control.store
      .view()
      .list("task")
      .map((task) => task.status?.state);
    assert.equal(states.filter((state) => state === "orphaned").length, 400);
    assert.equal(states.filter((state) => state === "complete").length, 1);
  });
});

describe("manager/control/quorum", () => {
  it("counts the reachable voters that remain", () => {
    const group = (...states: string[]): GroupMember[] =>
      states.map((state, i) => ({
        raftId: i,
        nodeId: `n${i}`,
        reachable: state !== "-",
        learner: state === "l",
      }));
    const cases = [
      [["+", "+", "+"], 2, true],
      [["+", "+", "-"], 1, false],
      [["+", "+", "-"], 2, true],
      [["+", "+"], 1, true],
      [["+", "-"], 1, true],
      [["+"], 0, false],
      [["-", "+", "+"], 2, true],
      [["+", "+", "l"], 2, true],
      [["+", "-", "-", "-", "-"], 4, false],
    ] as const;
    for (const [states, leaving, expected] of cases)
      assert.equal(
        keepsQuorumWithout(group(...states), leaving, "n0"),
        expected,
        `${states} less ${leaving}`,
      );
  });
});

describe("manager/control/cluster", () => {
  async function withCluster(): Promise<TestControl> {
    const control = testControl();
    const root = await createRootCa({ nowMs: Date.now(), random: seededRandom(1) });
    const rootCa = RootCa.create({
      caCert: Buffer.from(root.certificate),
      joinTokens: JoinTokens.create({ worker: "w", manager: "m" }),
    });
    const object = Cluster.create({ id: "c", spec: defaultClusterSpec, rootCa });
    await control.store.update((tx) => tx.create("cluster", object));
    return control;
  }
  const current = (control: TestControl) =>
    control.store.view().get("cluster", "c") ?? Cluster.create();
  const update = (
    control: TestControl,
    spec: Partial<ClusterSpec>,
    rotate: { worker?: boolean; manager?: boolean; key?: boolean } = {},
  ) =>
    control.call(ControlService.updateCluster, {
      version: current(control).meta?.version ?? 0,
      spec: { ...defaultClusterSpec, ...spec },
      rotateWorkerToken: rotate.worker ?? false,
      rotateManagerToken: rotate.manager ?? false,
      rotateUnlockKey: rotate.key ?? false,
    });

  it("rotates the token that is asked for", async () => {
    const control = await withCluster();
    await update(control, {}, { worker: true });
    const tokens = current(control).rootCa?.joinTokens;
    assert.match(tokens?.worker ?? "", /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    assert.equal(tokens?.manager, "m");
  });

  it("makes, keeps, rotates and drops the unlock key with autolock", async () => {
    const control = await withCluster();
    const on = { encryption: { autoLockManagers: true } };
    const keys = async (spec: Partial<ClusterSpec>, key = false) => {
      await update(control, spec, { key });
      return current(control).unlockKeys;
    };
    assert.deepEqual(await keys({}, true), []);
    const [first] = await keys(on);
    assert.deepEqual([first?.subsystem, first?.key.length, first?.version], ["manager", 32, 1]);
    assert.deepEqual(await keys(on), [first]);
    const [second] = await keys(on, true);
    assert.equal(second?.version, 2);
    assert.notDeepEqual(second?.key, first?.key);
    assert.deepEqual(await keys({}), []);
  });

  it("refuses what is not allowed or not there yet", async () => {
    const control = await withCluster();
    const ca = defaultClusterSpec.ca;
    assert.ok(ca !== undefined);
    const external = {
      protocol: "cfssl",
      url: "https://ca",
      options: {},
      caCert: new Uint8Array(0),
    };
    const cases: readonly (readonly [Partial<ClusterSpec>, RegExp])[] = [
      [{ ca: { ...ca, nodeCertExpiryNs: 3599e9 } }, /^minimum certificate expiry time is: 1h0m0s$/],
      [{ dispatcherHeartbeatNs: -1 }, /^heartbeat time period cannot be a negative duration$/],
      [
        { annotations: { name: "mine", labels: {} } },
        /^modification of cluster name is not allowed$/,
      ],
      [{ ca: { ...ca, forceRotate: 1 } }, /^rotating the root CA is not implemented yet$/],
      [
        { ca: { ...ca, externalCas: [external] } },
        /^external certificate authorities are not implemented/,
      ],
    ];
    for (const [spec, message] of cases) await assert.rejects(update(control, spec), { message });
    const stale = control.call(ControlService.updateCluster, {
      version: 99,
      spec: defaultClusterSpec,
      rotateWorkerToken: false,
      rotateManagerToken: false,
      rotateUnlockKey: false,
    });
    await assert.rejects(stale, { code: "unknown", message: "update out of sequence" });
  });
});
