/**
 * What agents are told of the data path, over a real store: each is played, and compared with what its node should know.
 */
import assert from "node:assert/strict";
import { NetworkIndex } from "../../../../manager/dispatcher/network-index.ts";
import { isReady } from "../../../../manager/dispatcher/network-view.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  IpamOptions,
  type Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  type Service,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
} from "../../../../src/common/api/generated/api.ts";
import { networkLogEntriesMax, networkSharedLagMax } from "../../../../src/common/limits/agent.ts";
import { type Random, seededRandom } from "../../../../src/common/random/random.ts";
import { isTerminal } from "../../../../src/common/task/state.ts";
import { localStore } from "../../../support/local-log.ts";
import { settled } from "../../../support/message-queue.ts";
import { expected, nothing, PlayedAgent } from "../../../support/played-network-agent.ts";
import { network, node, service, task } from "../../../support/store-objects.ts";

function allocated(id: string, number: number, ingress = false): Network {
  const plain = network(id, number);
  const spec = NetworkSpec.create({ ...plain.spec, ingress });
  return { ...plain, spec, ipam: IpamOptions.create() };
}

function inNetwork(id: string, networkIds: readonly string[], host = 1): Service {
  const plain = service({ id, vips: networkIds.map((one, i) => [one, `10.1.${i}.${host}/24`]) });
  const networks = networkIds.map((target) =>
    NetworkAttachmentConfig.create({ target, aliases: [`${id}-alias`] }),
  );
  const spec = plain.spec && { ...plain.spec, task: TaskSpec.create({ networks }) };
  return { ...plain, spec };
}

describe("manager/dispatcher/network-flow", () => {
  let store: Store;
  let index: NetworkIndex;
  let agents: PlayedAgent[];
  /** What is to happen a little later. */
  let later: (() => void)[];

  beforeEach(async () => {
    ({ store } = localStore());
    agents = [];
    later = [];
    index = new NetworkIndex({
      view: () => store.view(),
      soon: (run) => later.push(run),
      taskIds: () => [...store.view().each("task")].map(({ id }) => id),
    });
    const watch = store.watch();
    const follow = async () => {
      for await (const item of watch) if (!item.resync) index.committed(item.changes);
    };
    void follow();
    await store.update((tx) => {
      for (const i of [1, 2, 3]) tx.create("node", node(`n${i}`, i));
      tx.create("network", allocated("mesh", 4096, true));
      tx.create("network", allocated("a", 4097));
      tx.create("network", allocated("b", 4098));
    });
  });

  async function agent(nodeId: string): Promise<PlayedAgent> {
    const one = new PlayedAgent(nodeId, index);
    agents.push(one);
    one.flow.restart();
    await quiet();
    return one;
  }

  async function quiet(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) {
      await settled();
      for (const run of later.splice(0)) run();
      for (const one of agents) one.release?.();
    }
  }

  function check(): void {
    for (const one of agents) assert.deepEqual(one.known, expected(store, one.nodeId), one.nodeId);
  }

  function ids(one: PlayedAgent): string[] {
    return [
      ...one.known.networks.keys(),
      ...one.known.services.keys(),
      ...one.known.endpoints.keys(),
    ];
  }

  /** A task in some networks. */
  const at = (
    id: string,
    nodeId: string,
    networkIds: readonly string[],
    state: TaskState = "running",
  ) => {
    const slot = Number.parseInt(id.slice(1), 10);
    const addresses = networkIds.map((one) => [one, `10.0.0.${slot}/24`] as const);
    return task({ id, nodeId, state, serviceId: "s", slot, addresses });
  };

  const move = (id: string, fields: Partial<Task>) =>
    store.update((tx) => {
      const before = tx.get("task", id);
      if (before !== undefined) tx.update("task", { ...before, ...fields });
    });

  function peers(one: PlayedAgent): string[] {
    return [...one.known.peers.keys()].sort();
  }

  it("tells a node with nothing of itself and the mesh", async () => {
    const one = await agent("n1");
    assert.deepEqual(peers(one), ["n1"]);
    assert.deepEqual(ids(one), ["mesh"]);
    const [first] = one.heard;
    assert.deepEqual([first?.full, first?.first, first?.last], [true, true, true]);
    check();
  });

  const readdress = (id: string) =>
    store.update((tx) => {
      const before = tx.get("node", id);
      if (before !== undefined) tx.update("node", { ...before, dataPathAddress: "10.8.8.8" });
    });

  it("tells a node of a network, with all in it, once it takes part, and no longer than that", async () => {
    const [one, two] = [await agent("n1"), await agent("n2")];
    await store.update((tx) => {
      tx.create("service", inNetwork("s", ["a"]));
      tx.create("task", at("t1", "n1", ["a"]));
    });
    await quiet();
    assert.deepEqual(ids(one), ["mesh", "a", "s", "t1"]);
    assert.deepEqual(ids(two), ["mesh"]);
    const { length } = two.heard;
    await store.update((tx) => tx.create("task", at("t22", "n2", ["a", "b"])));
    await quiet();
    assert.deepEqual(ids(two).sort(), ["a", "b", "mesh", "s", "t1", "t22"]);
    assert.equal(two.heard.length, length + 1);
    await move("t22", { status: TaskStatus.create({ state: "failed" }) });
    await quiet();
    assert.deepEqual(ids(two), ["mesh"]);
    assert.deepEqual(ids(one), ["mesh", "a", "s", "t1"]);
    check();
  });

  for (const [fact, state, desired, ready] of [
    ["runs", "running", "running", true],
    ["runs as a job", "running", "complete", true],
    ["starts, or is not healthy yet", "starting", "running", false],
    ["is to stop", "running", "shutdown", false],
    ["is to be removed", "running", "remove", false],
  ] as const) {
    it(`calls a task that ${fact} ${ready ? "" : "not "}ready`, () => {
      const status = TaskStatus.create({ state });
      assert.equal(isReady(Task.create({ status, desiredState: desired })), ready);
    });
  }

  it("says once what does not change what others see of a task", async () => {
    const one = await agent("n1");
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"], "assigned")));
    await quiet();
    const { length } = one.heard;
    for (const state of ["accepted", "preparing", "ready", "starting"] as const)
      await move("t1", { status: TaskStatus.create({ state }) });
    await quiet();
    assert.equal(one.heard.length, length);
    await move("t1", { status: TaskStatus.create({ state: "running" }) });
    await quiet();
    assert.equal(one.heard.length, length + 1);
    assert.deepEqual(
      one.heard.at(-1)?.endpoints.map(({ id, ready }) => [id, ready]),
      [["t1", true]],
    );
    check();
  });

  it("says together what changed while a message was on its way", async () => {
    const one = await agent("n1");
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"])));
    await quiet();
    one.isSlow = true;
    await move("t1", { desiredState: "shutdown" });
    await settled();
    const { length } = one.heard;
    for (const id of ["u2", "u3", "u4"])
      await store.update((tx) => tx.create("task", at(id, "n2", ["a"])));
    await move("u3", { status: TaskStatus.create({ state: "failed" }) });
    await settled();
    assert.equal(one.heard.length, length);
    await quiet();
    assert.equal(one.heard.length, length + 2);
    assert.deepEqual(
      one.heard.at(-1)?.endpoints.map(({ id }) => id),
      ["u2", "u4"],
    );
    check();
  });

  it("tells a node of itself at once, and of no other that it shares nothing with", async () => {
    const [one, two] = [await agent("n1"), await agent("n2")];
    const { length } = two.heard;
    await readdress("n1");
    await settled();
    assert.equal(later.length, 0);
    assert.equal(one.known.peers.size, 1);
    assert.equal(two.heard.length, length);
    check();
  });

  it("tells of the nodes in a network with the network itself, and of their ways in and out with their tasks", async () => {
    const [one, two, three] = [await agent("n1"), await agent("n2"), await agent("n3")];
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"], "assigned")));
    await quiet();
    assert.deepEqual(peers(one), ["n1"]);
    await store.update((tx) => tx.create("task", at("t2", "n2", ["a"], "assigned")));
    await quiet();
    for (const [agent, other, id] of [
      [one, "n2", "t2"],
      [two, "n1", "t1"],
    ] as const) {
      const told = agent.heard.at(-1);
      assert.deepEqual(
        told?.peers.map(({ nodeId }) => nodeId),
        [other],
      );
      assert.deepEqual(
        told?.endpoints.map((endpoint) => endpoint.id).filter((one) => one === id),
        [id],
      );
    }
    assert.deepEqual(peers(three), ["n3"]);
    // Not before its last one there has ended.
    await store.update((tx) => tx.create("task", at("t3", "n2", ["a"])));
    await store.update((tx) => tx.remove("task", "t2"));
    await quiet();
    assert.deepEqual(peers(one), ["n1", "n2"]);
    await store.update((tx) => tx.remove("task", "t3"));
    await quiet();
    assert.deepEqual([peers(one), peers(two)], [["n1"], ["n2"]]);
    check();
  });

  it("tells every node of those with published tasks, and these of all, encoded once", async () => {
    const [one, two, three] = [await agent("n1"), await agent("n2"), await agent("n3")];
    await store.update((tx) => tx.create("task", at("t1", "n1", ["mesh"])));
    await quiet();
    assert.deepEqual(
      [peers(one), peers(two), peers(three)],
      [
        ["n1", "n2", "n3"],
        ["n1", "n2"],
        ["n1", "n3"],
      ],
    );
    assert.deepEqual(one.heard.at(-1)?.shared, (await index.sharedPeers()).pieces[0]);
    await readdress("n3");
    await quiet();
    check();
    await store.update((tx) => {
      tx.create("node", node("n7", 7));
      tx.remove("task", "t1");
      tx.create("task", at("t2", "n2", ["mesh"]));
    });
    await quiet();
    assert.deepEqual(
      [peers(one), peers(two), peers(three)],
      [
        ["n1", "n2"],
        ["n1", "n2", "n3", "n7"],
        ["n2", "n3"],
      ],
    );
    check();
    await store.update((tx) => tx.remove("task", "t2"));
    await quiet();
    assert.deepEqual([peers(one), peers(two), peers(three)], [["n1"], ["n2"], ["n3"]]);
  });

  it("tells a node with published tasks of all nodes when its agent comes back", async () => {
    await store.update((tx) => tx.create("task", at("t1", "n1", ["mesh"])));
    const one = await agent("n1");
    await readdress("n2");
    one.known = nothing();
    one.flow.restart();
    await quiet();
    assert.deepEqual(peers(one), ["n1", "n2", "n3"]);
    check();
  });

  it("tells a node of itself as it is, whatever was encoded for all", async () => {
    await store.update((tx) => tx.create("task", at("t2", "n2", ["mesh"])));
    await agent("n2");
    await agent("n1");
    const encoded = await index.sharedPeers();
    await readdress("n1");
    await quiet();
    await store.update((tx) => tx.create("task", at("t1", "n1", ["mesh"])));
    await quiet();
    assert.equal(await index.sharedPeers(), encoded);
    check();
  });

  it("tells together of nodes that come together", async () => {
    await store.update((tx) => tx.create("task", at("t1", "n1", ["mesh"])));
    const one = await agent("n1");
    const { length } = one.heard;
    for (const i of [7, 8, 9]) await store.update((tx) => tx.create("node", node(`n${i}`, i)));
    await quiet();
    assert.deepEqual(
      one.heard.slice(length).map(({ peers }) => peers.map(({ nodeId }) => nodeId)),
      [["n7", "n8", "n9"]],
    );
    check();
  });

  it("begins again with everything when the agent has missed something", async () => {
    const one = await agent("n1");
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"])));
    await quiet();
    one.known = nothing();
    one.flow.restart();
    await quiet();
    assert.equal(one.heard.at(-1)?.full, true);
    check();
  });

  it("encodes once what all are told, and says after it what has changed since", async () => {
    await store.update((tx) => {
      tx.create("task", at("t1", "n2", ["mesh"]));
      tx.create("task", at("t2", "n2", ["mesh"]));
    });
    const one = await agent("n1");
    const first = await index.sharedMesh();
    const [before] = one.heard;
    assert.deepEqual(before?.shared, first.pieces[0]);
    await move("t1", { desiredState: "shutdown" });
    await store.update((tx) => tx.remove("task", "t2"));
    const two = await agent("n3");
    assert.equal(await index.sharedMesh(), first);
    assert.deepEqual(
      two.heard.map(({ full, shared, endpoints, removedEndpointIds }) => [
        full,
        shared.length > 0,
        endpoints.map(({ ready }) => ready),
        removedEndpointIds,
      ]),
      [[true, true, [false], ["t2"]]],
    );
    check();
    const { length } = one.heard;
    for (let i = 0; i <= networkSharedLagMax; i++)
      index.logOf("mesh").push({ kind: "endpoint", id: "t1" });
    assert.notEqual(await index.sharedMesh(), first);
    assert.equal(one.heard.length, length);
  });

  it("begins again with everything for an agent that is too far behind", async () => {
    const one = await agent("n1");
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"])));
    await quiet();
    one.isSlow = true;
    await move("t1", { desiredState: "shutdown" });
    await settled();
    const log = index.logOf("a");
    for (let i = 0; i <= networkLogEntriesMax; i++) log.push({ kind: "endpoint", id: `x${i}` });
    await move("t1", { desiredState: "remove", slot: 9 });
    await quiet();
    await quiet();
    assert.equal(one.heard.at(-1)?.full, true);
    check();
  });

  it("tells nothing more once the session is over", async () => {
    const one = await agent("n1");
    const { length } = one.heard;
    one.flow.close();
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"])));
    await quiet();
    assert.equal(one.heard.length, length);
  });

  it("tells all of what it reads anew after the state was replaced", async () => {
    const one = await agent("n1");
    index.reload();
    await store.update((tx) => tx.create("task", at("t1", "n1", ["a"])));
    one.flow.restart();
    await quiet();
    assert.deepEqual(ids(one).sort(), ["a", "mesh", "t1"]);
    check();
  });

  for (let seed = 1; seed <= 8; seed++) {
    it(`tells every node all it should know, and no more, in 300 random steps from seed ${seed}`, async () => {
      const walk = new RandomWalk(store, seededRandom(seed));
      for (const id of ["n1", "n2", "n3"]) (await agent(id)).isSlow = true;
      for (let step = 0; step < 300; step++) {
        await walk.step(agents);
        if (step % 60 !== 59) continue;
        await quiet();
        await quiet();
        check();
      }
    });
  }
});

/** Random changes of everything agents are told of. */
class RandomWalk {
  readonly #store: Store;
  readonly #random: Random;
  #count = 0;

  constructor(store: Store, random: Random) {
    this.#store = store;
    this.#random = random;
  }

  /** One change, or one turn for somebody. */
  async step(agents: readonly PlayedAgent[]): Promise<void> {
    const steps: readonly (() => void | Promise<void>)[] = [
      () => this.#addTask(),
      () => this.#moveTask(),
      () => this.#removeTask(),
      () => this.#changeService(),
      () => this.#changeNode(),
      () => this.#changeNode(),
      () => this.#changeNetwork(),
      () => {
        if (this.#random.int(8) === 0) this.#pick(agents).flow.restart();
      },
      () => settled(),
      () => this.#pick(agents).release?.(),
    ];
    await this.#pick(steps)();
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.int(list.length)] as T;
  }

  #nodeIds(): string[] {
    return this.#store
      .view()
      .list("node")
      .map(({ id }) => id);
  }

  #someNetworks(): string[] {
    return ["mesh", "a", "b"].filter(() => this.#random.int(2) === 0);
  }

  #state(): TaskState {
    return this.#pick(["assigned", "starting", "running", "failed", "shutdown"]);
  }

  async #addTask(): Promise<void> {
    const count = ++this.#count;
    const nodeId = this.#pick(this.#nodeIds());
    const addresses = this.#someNetworks().map(
      (id) => [id, `10.${count >> 8}.${count & 255}.9`] as const,
    );
    const made = { id: `t${count}`, nodeId, state: this.#state(), slot: count, addresses };
    await this.#store.update((tx) => tx.create("task", task({ ...made, serviceId: "s" })));
  }

  async #moveTask(): Promise<void> {
    const all = this.#store.view().list("task");
    if (all.length === 0) return;
    const one = this.#pick(all);
    const status = TaskStatus.create({ state: this.#state() });
    const desiredState = this.#pick(["running", "shutdown"] as const);
    // What has ended holds no address any more, and does not come back.
    if (isTerminal(one.status?.state ?? "new")) return;
    const fields = this.#random.int(2) === 0 ? { status } : { desiredState };
    await this.#store.update((tx) => tx.update("task", { ...one, ...fields }));
  }

  async #removeTask(): Promise<void> {
    const all = this.#store.view().list("task");
    if (all.length === 0) return;
    const { id } = this.#pick(all);
    await this.#store.update((tx) => tx.remove("task", id));
  }

  async #changeService(): Promise<void> {
    const number = 1 + this.#random.int(3);
    const id = number === 1 ? "s" : `s${number}`;
    const made = inNetwork(id, this.#someNetworks(), number);
    await this.#store.update((tx) => {
      if (tx.get("service", id) === undefined) tx.create("service", made);
      else if (this.#random.int(3) === 0) tx.remove("service", id);
      else tx.update("service", made);
    });
  }

  async #changeNode(): Promise<void> {
    const others = this.#nodeIds().slice(3);
    const dataPathAddress = `10.9.0.${this.#random.int(9)}`;
    const what = others.length === 0 ? 0 : this.#random.int(5);
    await this.#store.update((tx) => {
      if (what === 0) {
        const count = 10 + ++this.#count;
        tx.create("node", node(`n${count}`, count));
        return;
      }
      const id = this.#pick(others);
      const before = tx.get("node", id);
      if (what === 1) tx.remove("node", id);
      else if (before !== undefined) tx.update("node", { ...before, dataPathAddress });
    });
  }

  async #changeNetwork(): Promise<void> {
    await this.#store.update((tx) => {
      if (tx.get("network", "b") === undefined) tx.create("network", allocated("b", 4098));
      else tx.remove("network", "b");
    });
  }
}
