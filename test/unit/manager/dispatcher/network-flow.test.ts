/**
 * What agents are told of the data path, over a real store: each is played, and compared with what its node should know.
 */
import assert from "node:assert/strict";
import { NetworkFlow } from "../../../../manager/dispatcher/network-flow.ts";
import { NetworkIndex } from "../../../../manager/dispatcher/network-index.ts";
import {
  endpointOf,
  hasPlace,
  isReady,
  networkServiceOf,
  networksOfService,
  peerOf,
} from "../../../../manager/dispatcher/network-view.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  IpamOptions,
  type Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  NetworkUpdate,
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
import { network, node, service, task } from "../../../support/store-objects.ts";

const objectsOf = { peers: "nodeId", networks: "id", services: "id", endpoints: "id" } as const;
const removedOf = {
  peers: "removedPeerIds",
  networks: "removedNetworkIds",
  services: "removedServiceIds",
  endpoints: "removedEndpointIds",
} as const;
type Kind = keyof typeof objectsOf;
type Known = Record<Kind, Map<string, object>>;

function nothing(): Known {
  return { peers: new Map(), networks: new Map(), services: new Map(), endpoints: new Map() };
}

/** An agent that takes in what it is told. */
class PlayedAgent {
  known = nothing();
  readonly heard: NetworkUpdate[] = [];
  readonly flow: NetworkFlow;
  readonly nodeId: string;
  /** Lets go of the message that is on its way; messages arrive at once while undefined. */
  release: (() => void) | undefined;
  isSlow = false;
  #next = 1;
  #coming = nothing();

  constructor(nodeId: string, index: NetworkIndex) {
    this.nodeId = nodeId;
    this.flow = new NetworkFlow(nodeId, {
      index,
      send: (update) => this.#take(update),
      upToDate: () => Promise.resolve(),
      failed: (error) => {
        throw error;
      },
    });
  }

  async #take(update: NetworkUpdate): Promise<void> {
    assert.equal(this.release, undefined, "one message is on its way at a time");
    if (this.isSlow)
      await new Promise<void>((resolve) => {
        this.release = () => {
          this.release = undefined;
          resolve();
        };
      });
    this.heard.push(update);
    assert.equal(update.number, this.#next++);
    if (update.first) this.#coming = nothing();
    const into = update.full ? this.#coming : this.known;
    if (update.shared.length > 0) this.#put(NetworkUpdate.decode(update.shared), into);
    this.#put(update, into);
    if (update.last) this.known = this.#coming;
  }

  #put(update: NetworkUpdate, into: Known): void {
    for (const kind of Object.keys(objectsOf) as Kind[]) {
      for (const object of update[kind])
        into[kind].set(
          (object as unknown as Record<string, string>)[objectsOf[kind]] ?? "",
          object,
        );
      for (const id of update[removedOf[kind]]) into[kind].delete(id);
    }
  }
}

/** What a node should know, computed from the store as a whole. */
function expected(store: Store, nodeId: string): Known {
  const view = store.view();
  const known = nothing();
  for (const one of view.each("node")) {
    const peer = peerOf(one);
    if (peer !== undefined) known.peers.set(one.id, peer);
  }
  const mine = new Set(
    [...view.each("task")]
      .filter((one) => hasPlace(one) && one.nodeId === nodeId)
      .flatMap((one) => endpointOf(one).networks.map(({ networkId }) => networkId)),
  );
  for (const one of view.each("network"))
    if (one.networkNumber !== 0 && (mine.has(one.id) || one.spec?.ingress === true))
      known.networks.set(one.id, one);
  for (const one of view.each("service")) {
    const told = networkServiceOf(one);
    if (told !== undefined && [...networksOfService(one)].some((id) => known.networks.has(id)))
      known.services.set(one.id, told);
  }
  for (const one of view.each("task")) {
    if (!hasPlace(one)) continue;
    const endpoint = endpointOf(one);
    if (endpoint.networks.some(({ networkId }) => known.networks.has(networkId)))
      known.endpoints.set(one.id, endpoint);
  }
  return known;
}

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

  it("tells a node with nothing of all nodes and the mesh", async () => {
    const one = await agent("n1");
    assert.deepEqual([...one.known.peers.keys()], ["n1", "n2", "n3"]);
    assert.deepEqual(ids(one), ["mesh"]);
    const [first] = one.heard;
    assert.deepEqual([first?.full, first?.first, first?.last], [true, true, true]);
    check();
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
    ["runs as a job", "running", "complete", false],
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

  it("tells together of nodes that come together", async () => {
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
    const first = await index.shared();
    await move("t1", { desiredState: "shutdown" });
    await store.update((tx) => tx.remove("task", "t2"));
    const two = await agent("n3");
    assert.equal(await index.shared(), first);
    assert.deepEqual(
      two.heard.map(({ full, shared, endpoints, removedEndpointIds }) => [
        full,
        shared.length > 0,
        endpoints.map(({ ready }) => ready),
        removedEndpointIds,
      ]),
      [
        [true, true, [], []],
        [true, false, [false], ["t2"]],
      ],
    );
    check();
    for (let i = 0; i <= networkSharedLagMax; i++)
      index.logOf("mesh").push({ kind: "endpoint", id: "t1" });
    assert.notEqual(await index.shared(), first);
    assert.equal(one.heard.length, 3);
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

  #someNetworks(): string[] {
    return ["mesh", "a", "b"].filter(() => this.#random.int(2) === 0);
  }

  #state(): TaskState {
    return this.#pick(["assigned", "starting", "running", "failed", "shutdown"]);
  }

  async #addTask(): Promise<void> {
    const count = ++this.#count;
    const nodeId = this.#pick(["n1", "n2", "n3"]);
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
    const id = this.#pick(["n4", "n5"]);
    const dataPathAddress = `10.9.0.${this.#random.int(9)}`;
    await this.#store.update((tx) => {
      const before = tx.get("node", id);
      if (before === undefined) tx.create("node", node(id, 10 + ++this.#count));
      else tx.update("node", { ...before, dataPathAddress });
    });
  }

  async #changeNetwork(): Promise<void> {
    await this.#store.update((tx) => {
      if (tx.get("network", "b") === undefined) tx.create("network", allocated("b", 4098));
      else tx.remove("network", "b");
    });
  }
}
