/**
 * Plans beside deeds: what the managers say would come of a change, and what comes of it when the leader's own loops carry it out.
 */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { decisionOf } from "../../../../manager/control/control.ts";
import { Rehearsal } from "../../../../manager/plan/rehearsal.ts";
import {
  Config,
  ConfigSpec,
  ControlService,
  type MethodDescriptor,
  NodeDescription,
  NodeSpec,
  NodeStatus,
  Platform,
  Resources,
  type ServiceSpec,
} from "../../../../src/common/api/generated/api.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { newId } from "../../../../src/common/ids/ids.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import type { ClusterPlan } from "../../../../src/common/spec/cluster-plan.ts";
import { networkSpecFromJson } from "../../../../src/engine/translate/network.ts";
import { bodyObject } from "../../../../src/engine/translate/reader.ts";
import { serviceSpecFromJson } from "../../../../src/engine/translate/service.ts";
import { FakeCluster } from "../../../support/fake-cluster.ts";
import { node } from "../../../support/store-objects.ts";

interface Parts {
  readonly replicas?: number;
  readonly mode?: object;
  readonly container?: object;
  readonly task?: object;
  readonly rest?: object;
}

/** A spec as a client would write it. */
function spec(name: string, parts: Parts = {}): ServiceSpec {
  const { replicas = 1, mode, container = {}, task = {}, rest = {} } = parts;
  const ContainerSpec = { Image: "app", ...container };
  return serviceSpecFromJson(
    bodyObject({
      ...{ Name: name, TaskTemplate: { ContainerSpec, ...task } },
      ...{ Mode: mode ?? { Replicated: { Replicas: replicas } }, ...rest },
    }),
  );
}

const gib = 2 ** 30;

describe("manager/plan", () => {
  let cluster: FakeCluster;

  beforeEach(async () => {
    cluster = new FakeCluster(1, { realScheduler: true });
    await cluster.begin(0);
    for (let i = 1; i <= 4; i++) await addNode(`n${i}`);
  });
  afterEach(() => cluster.end());

  async function addNode(id: string, architecture = "amd64"): Promise<void> {
    const platform = Platform.create({ os: "linux", architecture });
    await cluster.store.update((tx) =>
      tx.create("node", {
        ...node(id),
        spec: NodeSpec.create({ availability: "active", desiredRole: "worker" }),
        status: NodeStatus.create({ state: "ready" }),
        description: NodeDescription.create({
          ...{ hostname: id, platform, platforms: [platform] },
          resources: Resources.create({ nanoCpus: 4e9, memoryBytes: 4 * gib }),
        }),
      }),
    );
  }

  function environment(id = newId(cluster.random)) {
    const { clock, random } = cluster;
    return { now: clock.now(), random, members: [], selfId: "n1", objectId: id };
  }

  function rehearsal(): Rehearsal {
    const { clock, random, store } = cluster;
    return new Rehearsal(store, { clock, random, selfId: "n1", members: [] });
  }

  /** Carries a method out, as control does. */
  async function make<Q, R>(
    method: MethodDescriptor<Q, R>,
    request: Q,
    passMs = 2_000,
  ): Promise<R> {
    const decide = decisionOf(method);
    const made = await cluster.store.update((tx) => decide(tx, request, environment()));
    await cluster.pass(passMs);
    return made;
  }

  async function planned<Q, R>(
    method: MethodDescriptor<Q, R>,
    request: Q,
    platforms: readonly string[] = ["amd64"],
  ): Promise<ClusterPlan> {
    const tried = rehearsal();
    tried.call(method, request);
    const answers = new Map(
      tried.services().map(({ spec: wanted }) => [
        wanted?.task?.container?.image ?? "",
        {
          digest: "sha256:1",
          platforms: platforms.map((architecture) =>
            Platform.create({ os: "linux", architecture }),
          ),
        },
      ]),
    );
    return await tried.plan({ answers, related: [] });
  }

  const creation = (name: string, parts?: Parts) => ({
    spec: spec(name, parts),
    registryAuth: "",
    id: "",
  });
  const update = (id: string, wanted: ServiceSpec) => ({
    ...{ id, version: cluster.service(id).meta?.version ?? 0, spec: wanted },
    ...{ rollback: "none" as const, rollbackTo: 0, rebalance: false },
    ...{ registryAuth: "", registryAuthFrom: "spec" },
  });

  async function service(name: string, parts?: Parts): Promise<string> {
    const { id } = await make(ControlService.createService, creation(name, parts));
    return id;
  }

  const nodesNow = (id: string) =>
    cluster
      .tasks(id)
      .filter(({ desiredState, nodeId }) => desiredState === "running" && nodeId !== "")
      .map(({ nodeId }) => nodeId)
      .sort();
  const targets = (plan: ClusterPlan, at = 0) =>
    (plan.services[at]?.tasks ?? []).flatMap(({ to }) => (to === "" ? [] : to)).sort();

  it("says where the tasks of a new service go", async () => {
    await service("other", { replicas: 3 });
    const plan = await planned(ControlService.createService, creation("web", { replicas: 6 }));
    deepEqual(
      plan.objects.map(({ kind, name, action }) => [kind, name, action]),
      [["service", "web", "create"]],
    );
    equal(cluster.store.view().count("service"), 1);
    const id = await service("web", { replicas: 6 });
    deepEqual(targets(plan), nodesNow(id));
  });

  it("shows no change for what runs", async () => {
    const id = await service("web", { replicas: 3 });
    const plan = await planned(
      ControlService.updateService,
      update(id, spec("web", { replicas: 3 })),
    );
    deepEqual(
      plan.objects.map(({ action }) => action),
      ["none"],
    );
    deepEqual(plan.services, []);
  });

  it("says what an update replaces, and how much is away meanwhile", async () => {
    const id = await service("web", { replicas: 3 });
    const changed = spec("web", { replicas: 3, container: { Image: "app2" } });
    const plan = await planned(ControlService.updateService, update(id, changed));
    const [found] = plan.services;
    deepEqual(
      found?.tasks.map(({ action, slot, from }) => [action, slot, from]),
      cluster
        .tasks(id)
        .sort((a, b) => a.slot - b.slot)
        .map(({ slot, nodeId }) => ["replace", slot, nodeId]),
    );
    deepEqual(found?.absence, { running: 3, away: 1, lost: 0 });
    await make(ControlService.updateService, update(id, changed), 10_000);
    deepEqual(targets(plan), nodesNow(id));
  });

  it("leaves tasks alone that a change of the placement does not concern", async () => {
    const id = await service("web", { replicas: 4 });
    const Constraints = ["node.hostname!=n2"];
    const moved = spec("web", { replicas: 4, task: { Placement: { Constraints } } });
    const plan = await planned(ControlService.updateService, update(id, moved));
    equal(plan.services[0]?.kept, 3);
    deepEqual(
      plan.services[0]?.tasks.map(({ from }) => from),
      ["n2"],
    );
    deepEqual(
      plan.services[0]?.refusals.map(({ nodeId }) => nodeId),
      ["n2"],
    );
    await make(ControlService.updateService, update(id, moved));
    ok(!nodesNow(id).includes("n2"));
  });

  it("names the nodes that would refuse, and tasks that would wait with their own words", async () => {
    await addNode("arm1", "arm64");
    const Reservations = { MemoryBytes: 3 * gib };
    const greedy = { replicas: 5, task: { Resources: { Reservations } } };
    const plan = await planned(ControlService.createService, creation("db", greedy), ["amd64"]);
    const [found] = plan.services;
    match(found?.refusals[0]?.reason ?? "", /unsupported platform on 1 node/);
    equal(found?.refusals[0]?.nodeId, "arm1");
    const waiting = found?.tasks.filter(({ to }) => to === "") ?? [];
    equal(waiting.length, 1);
    match(waiting[0]?.error ?? "", /insufficient resources on 4 nodes/);
  });

  it("puts a successor where the old one was when only that has the port", async () => {
    const Ports = [{ TargetPort: 80, PublishedPort: 8080, PublishMode: "host" }];
    const UpdateConfig = { Parallelism: 1, Order: "start-first" };
    const rest = { EndpointSpec: { Ports }, UpdateConfig };
    const id = await service("edge", { replicas: 4, rest });
    const changed = spec("edge", { replicas: 4, container: { Image: "app2" }, rest });
    const plan = await planned(ControlService.updateService, update(id, changed));
    const [found] = plan.services;
    ok(found?.tasks.every(({ from, to, error }) => from === to && error === ""));
    deepEqual(found?.absence, { running: 4, away: 1, lost: 0 });
  });

  it("says of tasks for which there is no place any more that they do not come back", async () => {
    const id = await service("web", { replicas: 2 });
    const task = { Placement: { Constraints: ["node.labels.disk==ssd"] } };
    const lost = spec("web", { replicas: 2, task });
    const plan = await planned(ControlService.updateService, update(id, lost));
    deepEqual(plan.services[0]?.absence, { running: 2, away: 2, lost: 2 });
    match(plan.services[0]?.tasks[0]?.error ?? "", /scheduling constraints not satisfied/);
  });

  it("says what a drained service of every node starts and stops", async () => {
    const id = await service("agent", { mode: { Global: {} } });
    const task = { Placement: { Constraints: ["node.hostname!=n3"] } };
    const fewer = spec("agent", { mode: { Global: {} }, task });
    const plan = await planned(ControlService.updateService, update(id, fewer));
    deepEqual(
      plan.services[0]?.tasks.map(({ action, from }) => [action, from]),
      [["stop", "n3"]],
    );
    equal(plan.services[0]?.kept, 3);
  });

  it("runs a job again for the same spec, and nothing else", async () => {
    const mode = { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 2 } };
    cluster.command = () => ({ endsAfterMs: 50 });
    const id = await service("job", { mode });
    const plan = await planned(ControlService.updateService, update(id, spec("job", { mode })));
    deepEqual(
      plan.objects.map(({ action }) => action),
      ["update"],
    );
    // As jobs' tasks are shown.
    deepEqual(
      plan.services[0]?.tasks.map(({ action, slot }) => [action, slot]),
      [
        ["start", 0],
        ["start", 1],
      ],
    );
  });

  it("says which slots of a job stop, as they are shown", async () => {
    const mode = { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 2 } };
    const id = await service("job", { mode });
    const plan = await planned(ControlService.removeService, { id, force: false });
    deepEqual(plan.services[0]?.tasks.map(({ action, slot }) => [action, slot]).sort(), [
      ["stop", 0],
      ["stop", 1],
    ]);
  });

  it("takes services to new data of their configs", async () => {
    const annotations = { name: "c", labels: {} };
    const data = (text: string) => ConfigSpec.create({ annotations, data: Buffer.from(text) });
    const config = Config.create({ id: "c1", spec: data("a"), revision: 1 });
    await cluster.store.update((tx) => tx.create("config", config));
    const Configs = [{ ConfigID: "c1", ConfigName: "c", File: { Name: "/c", Mode: 0o444 } }];
    await service("web", { replicas: 2, container: { Configs } });
    const version = cluster.store.view().get("config", "c1")?.meta?.version ?? 0;
    const same = await planned(ControlService.updateConfig, { id: "c1", version, spec: data("a") });
    deepEqual(
      same.objects.map(({ action }) => action),
      ["none"],
    );
    const plan = await planned(ControlService.updateConfig, { id: "c1", version, spec: data("b") });
    deepEqual(
      plan.objects.map(({ kind, action }) => [kind, action]),
      [
        ["config", "update"],
        ["service", "update"],
      ],
    );
    equal(plan.services[0]?.tasks.length, 2);
  });

  it("tries requests over those before them, and keeps nothing of a refused one", async () => {
    const tried = rehearsal();
    const wanted = networkSpecFromJson(bodyObject({ Name: "net", Driver: "overlay" }));
    const { id } = tried.call(ControlService.createNetwork, { id: "", spec: wanted });
    const Networks = [{ Target: id }];
    tried.call(ControlService.createService, creation("web", { task: { Networks } }));
    throws(
      () => tried.call(ControlService.createService, creation("web")),
      (error) => hasCode(error, "already-exists"),
    );
    const plan = await tried.plan({ answers: new Map(), related: [] });
    deepEqual(
      plan.objects.map(({ kind, action, waits }) => [kind, action, waits]),
      [
        ["network", "create", ""],
        ["service", "create", ""],
      ],
    );
    equal(plan.services[0]?.tasks[0]?.error, "");
    equal(cluster.store.view().count("network"), 0);
  });

  it("stays at its index while all goes on, and leaves it with a spec or a node", async () => {
    const id = await service("web", { replicas: 2 });
    const index = async () => (await rehearsal().plan({ answers: new Map(), related: [id] })).index;
    const before = await index();
    await cluster.fail(cluster.tasks(id)[0]?.id ?? "");
    await cluster.pass(10_000);
    equal(await index(), before);
    await make(ControlService.updateService, update(id, spec("web", { replicas: 3 })));
    const after = await index();
    ok(after !== before);
    await cluster.setAvailability("n1", "drain");
    ok((await index()) !== after);
  });

  describe("conflicts", () => {
    /** A node tells of volumes. */
    async function has(id: string, ...localVolumes: string[]): Promise<void> {
      await cluster.store.update((tx) => {
        const one = tx.get("node", id) ?? node(id);
        const description = NodeDescription.create({ ...one.description, localVolumes });
        tx.update("node", { ...one, description });
      });
    }

    /** A service with volumes, on these nodes only. */
    function using(volumes: readonly (string | object)[], only?: string, rest = {}): Parts {
      const Mounts = volumes.map((volume, at) => ({
        ...{ Type: "volume", Target: `/${at}` },
        ...(typeof volume === "string" ? { Source: volume } : volume),
      }));
      const Constraints = only === undefined ? [] : [`node.hostname==${only}`];
      return { container: { Mounts }, task: { Placement: { Constraints } }, rest };
    }

    const conflicts = async (name: string, parts: Parts) => {
      const plan = await planned(ControlService.createService, creation(name, parts));
      const [found] = plan.services;
      return (found?.conflicts ?? []).map(({ name: what, nodeIds, services, effect, to, reason }) =>
        [what, nodeIds.join(" "), services.join(" "), effect, to, reason].join("|"),
      );
    };

    it("names a volume that is where its task cannot go", async () => {
      await has("n2", "data");
      const pinned = using(["data"], "n1");
      const reason = "no suitable node (scheduling constraints not satisfied on 1 node)";
      deepEqual(await conflicts("db", pinned), [`data|n2||waits||${reason}`]);
      const id = await service("db", pinned);
      deepEqual(nodesNow(id), []);
      deepEqual(await conflicts("other", using(["data"])), []);
    });

    it("says nothing of volumes when no node would do without them either", async () => {
      await has("n2", "data");
      deepEqual(await conflicts("db", using(["data"], "nowhere")), []);
    });

    it("names the service that has the volume where this one cannot go", async () => {
      await service("first", using(["data"], "n1"));
      const reason = "no suitable node (scheduling constraints not satisfied on 1 node)";
      const expected = [`data|n1|first|waits||${reason}`];
      deepEqual(await conflicts("second", using(["data"], "n2")), expected);
    });

    it("knows of volumes that the plan itself makes", async () => {
      const tried = rehearsal();
      tried.call(ControlService.createService, creation("first", using(["data"], "n1")));
      tried.call(ControlService.createService, creation("second", using(["data"], "n2")));
      const { services } = await tried.plan({ answers: new Map(), related: [] });
      deepEqual(
        services.map((one) => one.conflicts.map(({ nodeIds, services: of }) => [nodeIds, of])),
        [[], [[["n1"], ["first"]]]],
      );
    });

    it("says which volume starts empty, and where there is one", async () => {
      await has("n1", "one");
      await has("n2", "two");
      deepEqual(await conflicts("db", using(["one", "two"])), ["two|n2||empty|n1|"]);
      const Labels = { "skep.volumes": "anywhere" };
      deepEqual(await conflicts("db", using(["two"], "n3", { Labels })), ["two|n2||empty|n3|"]);
      const mode = { Global: {} };
      deepEqual(await conflicts("agent", { ...using(["two"]), mode }), []);
      deepEqual(await conflicts("db", { ...using(["two"]), replicas: 3 }), []);
    });

    it("says whose volume has other options on the node", async () => {
      const nfs = (o: string) => {
        const options = { type: "nfs", device: ":/x", o };
        const VolumeOptions = { DriverConfig: { Name: "local", Options: options } };
        return { Source: "files", VolumeOptions };
      };
      await service("first", using([nfs("addr=10.0.0.1")], "n3"));
      const reason = "it has other options there";
      const expected = [`files|n3|first|rejected|n3|${reason}`];
      deepEqual(await conflicts("second", using([nfs("addr=10.0.0.2")], "n3")), expected);
      deepEqual(await conflicts("same", using([nfs("addr=10.0.0.1")], "n3")), []);
      deepEqual(await conflicts("elsewhere", using([nfs("addr=10.0.0.2")], "n2")), []);
      // Each task has the placeholder filled in: nobody can tell before.
      deepEqual(await conflicts("filled", using([nfs("addr={{.Node.Hostname}}")], "n3")), []);
    });

    it("says where host ports are taken, and by whom", async () => {
      const Ports = [{ TargetPort: 80, PublishedPort: 8080, PublishMode: "host" }];
      const rest = { EndpointSpec: { Ports } };
      await service("edge", { replicas: 3, rest });
      deepEqual(await conflicts("web", { replicas: 2, rest }), [
        "8080/tcp|n1 n2 n3 n4|edge web|waits||",
      ]);
      deepEqual(await conflicts("web", { replicas: 1, rest }), []);
      deepEqual(await conflicts("each", { mode: { Global: {} }, rest }), [
        "8080/tcp|n1 n2 n3|edge|waits||",
      ]);
      const pinned = { ...using([], "n2"), rest };
      deepEqual(await conflicts("web", pinned), ["8080/tcp|n2|edge|waits||"]);
    });
  });

  for (let seed = 8; seed <= 12; seed++)
    it(`says of a change what comes of it, seed ${seed}`, async () => {
      const random = seededRandom(seed);
      const any = (below: number) => (random.bytes(1)[0] ?? 0) % below;
      const parts = (): Parts => ({
        replicas: any(6),
        container: { Image: `app${any(2)}` },
        task: {
          ...(any(2) === 0 && { Placement: { Constraints: [`node.hostname!=n${1 + any(4)}`] } }),
          ...(any(3) === 0 && {
            Resources: { Reservations: { MemoryBytes: gib / 2, NanoCPUs: 5e8 } },
          }),
        },
        rest: {
          UpdateConfig: {
            Parallelism: any(3),
            Order: any(2) === 0 ? "start-first" : "stop-first",
          },
        },
      });
      for (let i = 0; i < 2; i++) await service(`other${i}`, parts());
      const id = await service("web", parts());
      const changed = spec("web", parts());
      const plan = await planned(ControlService.updateService, update(id, changed));
      const [found] = plan.services;
      const gone = new Set(found?.tasks.map(({ taskId }) => taskId));
      const kept = cluster
        .tasks(id)
        .filter((task) => task.desiredState === "running" && !gone.has(task.id));
      const expected = [...targets(plan), ...kept.map(({ nodeId }) => nodeId)].sort();
      equal(found?.kept ?? kept.length, kept.length);
      // They are stopping still when their successors are given nodes.
      cluster.command = () => ({ stopsAfterMs: 1_500 });
      await make(ControlService.updateService, update(id, changed), 20_000);
      deepEqual(nodesNow(id), expected);
    });
});
