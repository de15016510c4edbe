/** Where tasks of services go in a cluster of nodes with different platforms, from the request to the running task. */
import assert from "node:assert/strict";
import {
  ControlService,
  CreateServiceRequest,
  NodeDescription,
  Resources,
  type ServiceSpec,
  type Task,
  UpdateServiceRequest,
} from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { bodyObject } from "../../../../src/engine/translate/reader.ts";
import { serviceSpecFromJson } from "../../../../src/engine/translate/service.ts";
import type { SwarmNode } from "../../../../src/node/node.ts";
import { freePort } from "../../../support/free-port.ts";
import { eventually } from "../../../support/raft-members.ts";
import { aPlatform } from "../../../support/scheduler.ts";
import { initRequest, joinRequest, TestNodes } from "../../../support/test-nodes.ts";

/** What the nodes run, by name. */
const platforms: Readonly<Record<string, readonly string[]>> = {
  box: ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1"],
  pi2: ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
  pi0: ["linux/arm/v6", "linux/arm/v5"],
};
const ofAll = "registry.example/all:1";
/** What the images are for, by name; others are unknown to the registry. */
const images: Readonly<Record<string, readonly string[]>> = {
  "registry.example/arm:1": ["linux/arm/v7"],
  [ofAll]: ["linux/amd64", "linux/arm/v7", "linux/arm/v6"],
  "registry.example/huge:1": ["linux/riscv64"],
};

/** An image of all three that was pushed twice under its tag: that for ARMv7 is another one since. */
const pushed: Readonly<Record<string, readonly string[]>> = {
  [`registry.example/again:1@sha256:${"a".repeat(64)}`]: ["amd64", "armv7", "armv6"],
  [`registry.example/again:1@sha256:${"b".repeat(64)}`]: ["amd64", "armv7 anew", "armv6"],
};

describe("src/node (placement)", function () {
  this.timeout(300_000);
  const never = new AbortController().signal;
  let nodes: TestNodes;
  let manager: SwarmNode;

  before(async () => {
    nodes = new TestNodes();
    await nodes.open();
    nodes.describe = (name) => {
      const list = (platforms[name] ?? []).map(aPlatform);
      const resources = Resources.create({ nanoCpus: 4e9, memoryBytes: 2 ** 30 });
      return NodeDescription.create({
        hostname: name,
        platform: list[0],
        platforms: list,
        resources,
      });
    };
    nodes.registry = {
      resolve: async (reference) => {
        const manifests = pushed[reference] ?? [];
        const list = images[reference] ?? (manifests.length > 0 ? images[ofAll] : undefined);
        if (list === undefined) throw new ClusterError("not-found", "manifest unknown");
        const digest = `sha256:${"1".repeat(64)}`;
        const platforms = list.map(aPlatform);
        return { digest, mediaType: "", sizeBytes: 1, platforms, manifests };
      },
    };
    manager = nodes.node("box");
    await manager.init(initRequest(await freePort()));
    const { address } = manager.status().remoteManagers[0] ?? { address: "" };
    for (const name of ["pi2", "pi0"]) {
      const listenAddress = `127.0.0.1:${await freePort()}`;
      const request = { listenAddress, remoteAddresses: [address] };
      await nodes.node(name).join(joinRequest(manager, "worker", request));
    }
    const ready = () => [...view().list("node")].filter((n) => n.status?.state === "ready");
    await eventually("three nodes are ready", () => ready().length === 3);
  });
  after(() => nodes.close());

  function view() {
    const running = manager.manager();
    assert.ok(running !== undefined);
    return running.view();
  }

  function specOf(name: string, image: string, replicas: number): ServiceSpec {
    const json = {
      Name: name,
      TaskTemplate: { ContainerSpec: { Image: image } },
      Mode: { Replicated: { Replicas: replicas } },
      UpdateConfig: { Parallelism: 1, Monitor: 5e8 },
    };
    return serviceSpecFromJson(bodyObject(json));
  }

  async function create(name: string, image: string, replicas: number): Promise<void> {
    const spec = specOf(name, image, replicas);
    const request = CreateServiceRequest.create({ spec });
    await manager.manager()?.call(ControlService.createService, request, never);
  }

  function tasksOf(name: string): Task[] {
    const service = [...view().list("service")].find(
      ({ spec }) => spec?.annotations?.name === name,
    );
    return [...view().list("task")].filter(({ serviceId }) => serviceId === service?.id);
  }

  /** Host names of the nodes on which tasks of a service run. */
  function running(name: string): string[] {
    return tasksOf(name)
      .filter(({ status }) => status?.state === "running")
      .map(({ nodeId }) => view().get("node", nodeId)?.description?.hostname ?? "")
      .sort();
  }

  it("runs an image on the nodes it is for, and nowhere else", async () => {
    await create("arm", "registry.example/arm:1", 3);
    await eventually("three tasks run", () => running("arm").length === 3);
    assert.deepEqual(running("arm"), ["pi2", "pi2", "pi2"]);
    assert.equal(tasksOf("arm").length, 3, "none was tried anywhere else");
    await create("all", ofAll, 6);
    await eventually("six tasks run", () => running("all").length === 6);
    assert.deepEqual(running("all"), ["box", "box", "pi0", "pi0", "pi2", "pi2"]);
  });

  it("says which nodes cannot run an image, and what it is for", async () => {
    await create("huge", "registry.example/huge:1", 1);
    const error = () => tasksOf("huge")[0]?.status?.error ?? "";
    await eventually("the task says why it waits", () => error() !== "");
    assert.match(
      error(),
      /^no suitable node \(unsupported platform on 3 nodes: the image is for linux\/riscv64, /,
    );
    for (const text of [
      "box runs linux/amd64/v3",
      "pi2 runs linux/arm/v7",
      "pi0 runs linux/arm/v6",
    ])
      assert.ok(error().includes(text), `${error()} says ${text}`);
  });

  it("tries an image the registry does not know on any node", async () => {
    await create("local", "registry.example/local:1", 3);
    await eventually("three tasks run", () => running("local").length === 3);
    assert.deepEqual(running("local"), ["box", "pi0", "pi2"]);
  });

  it("replaces tasks where an image that was pushed again is another one, and none for the same", async () => {
    const [first = "", second = ""] = Object.keys(pushed);
    await create("again", first, 3);
    await eventually("three tasks run", () => running("again").length === 3);
    assert.deepEqual(running("again"), ["box", "pi0", "pi2"]);
    const service = () =>
      [...view().list("service")].find(({ spec }) => spec?.annotations?.name === "again");
    await eventually("the registry has said what it is", () => {
      return (service()?.image?.manifests ?? []).length === 3;
    });
    const request = (image: string) =>
      UpdateServiceRequest.create({
        ...{ id: service()?.id ?? "", version: service()?.meta?.version ?? 0 },
        ...{ spec: specOf("again", image, 3), registryAuthFrom: "spec" },
      });
    const update = (image: string) =>
      manager.manager()?.call(ControlService.updateService, request(image), never);
    const had = tasksOf("again").map(({ id }) => id);
    const tried = await manager.manager()?.rehearse(never);
    tried?.call(ControlService.updateService, request(second));
    const answer = await nodes.registry?.resolve(second, { auth: undefined, signal: never });
    const answers = new Map(answer === undefined ? [] : [[second, answer]]);
    const [plan] = (await tried?.plan({ answers, related: [] }))?.services ?? [];
    assert.deepEqual([plan?.tasks.length, plan?.kept], [1, 2]);
    await update(first);
    await update(second);
    await eventually("the update has ended", () => {
      return service()?.updateStatus?.state === "completed";
    });
    const made = tasksOf("again").filter(({ id }) => !had.includes(id));
    assert.equal(made.length, 1);
    assert.equal(made[0]?.nodeId, plan?.tasks[0]?.to);
    assert.equal(view().get("node", plan?.tasks[0]?.from ?? "")?.description?.hostname, "pi2");
    const kept = tasksOf("again").filter(({ id, status }) => {
      return had.includes(id) && status?.state === "running";
    });
    const hosts = kept.map(({ nodeId }) => view().get("node", nodeId)?.description?.hostname);
    assert.deepEqual(hosts.sort(), ["box", "pi0"]);
  });
});
