/**
 * The leader's book of living nodes, over a real store.
 */
import assert from "node:assert/strict";
import { Liveness, nodeAfterReport } from "../../../../manager/dispatcher/liveness.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  EngineDescription,
  Node,
  NodeDescription,
  NodeReport,
  NodeReportBatch,
  type NodeState,
  NodeStatus,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { type LocalLog, localStore } from "../../../support/local-log.ts";
import { settled } from "../../../support/message-queue.ts";

function node(id: string, state: NodeState, fields: Partial<Node> = {}): Node {
  return Node.create({ id, status: NodeStatus.create({ state, address: "10.0.0.1" }), ...fields });
}

const description = (hostname: string) => NodeDescription.create({ hostname });

describe("manager/dispatcher/liveness", () => {
  let clock: FakeClock;
  let store: Store;
  let log: LocalLog;
  let liveness: Liveness;
  let stop: AbortController;
  let run: Promise<void>;

  beforeEach(async () => {
    clock = new FakeClock();
    ({ store, log } = localStore({ clock }));
    stop = new AbortController();
    liveness = new Liveness(
      store,
      { term: 1, heartbeatPeriodMs: () => 5000 },
      { clock, log: silentLog },
    );
    run = liveness.run(stop.signal);
    await settled();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });

  function add(...nodes: readonly Node[]): Promise<void> {
    return store.update((tx) => {
      for (const object of nodes) tx.create("node", object);
    });
  }

  function alive(...liveNodeIds: readonly string[]): Promise<void> {
    return liveness.take(NodeReportBatch.create({ liveNodeIds }));
  }

  function report(nodeId: string, fields: Partial<NodeReport> = {}, live: readonly string[] = []) {
    const reports = [NodeReport.create({ nodeId, state: "ready", ...fields })];
    return liveness.take(NodeReportBatch.create({ reports, liveNodeIds: live }));
  }

  function status(id: string): NodeStatus | undefined {
    return store.view().get("node", id)?.status;
  }

  /** Lets seconds pass, with turns for the store after each. */
  async function seconds(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      await clock.advance(1000);
      for (let turn = 0; turn < 4; turn++) await settled();
    }
  }

  it("gives a write up when its leadership ends", async () => {
    await add(node("a", "ready"));
    log.automatic = false;
    await seconds(31);
    stop.abort();
    await run;
  });

  it("gives a report up with whoever made it", async () => {
    await add(node("a", "down"));
    log.automatic = false;
    const caller = new AbortController();
    const taken = liveness.take(NodeReportBatch.create({ liveNodeIds: ["a"] }), caller.signal);
    await settled();
    caller.abort();
    await assert.rejects(taken, /outcome unknown/);
  });

  it("writes what a report says before it takes the next", async () => {
    await add(node("a", "unknown"));
    await report("a", {
      address: "10.0.0.9",
      description: description("h"),
      dataPathAddress: "10.1.0.9",
    });
    const found = store.view().get("node", "a");
    assert.deepEqual(found?.status, { state: "ready", message: "", address: "10.0.0.9" });
    assert.equal(found?.description?.hostname, "h");
    assert.equal(found?.dataPathAddress, "10.1.0.9");
  });

  it("writes nothing for a report without news, nor for beats", async () => {
    await add(node("a", "ready"));
    const { length } = log.entries;
    await report("a");
    await alive("a");
    assert.equal(log.entries.length, length);
  });

  it("does not bring back a removed node", async () => {
    await report("gone", { description: description("h") }, ["gone"]);
    assert.equal(store.view().count("node"), 0);
  });

  it("writes reports of many nodes in several transactions", async () => {
    const ids = Array.from({ length: 150 }, (_, i) => `n${i}`);
    await add(...ids.map((id) => node(id, "unknown")));
    const reports = ids.map((nodeId) => NodeReport.create({ nodeId, state: "ready" }));
    await liveness.take(NodeReportBatch.create({ reports }));
    assert.ok(ids.every((id) => status(id)?.state === "ready"));
  });

  it("takes a full batch of the largest descriptions", async () => {
    const ids = Array.from({ length: 200 }, (_, i) => `n${i}`);
    await add(...ids.map((id) => node(id, "unknown")));
    const labels = { large: "x".repeat(16_000) };
    const large = NodeDescription.create({ engine: EngineDescription.create({ labels }) });
    const reports = ids.map((nodeId) =>
      NodeReport.create({ nodeId, state: "ready", description: large }),
    );
    await liveness.take(NodeReportBatch.create({ reports }));
    assert.ok(ids.every((id) => status(id)?.state === "ready"));
  });

  it("marks a node down that missed three beats, and keeps its address", async () => {
    await add(node("a", "ready"), node("b", "ready"));
    await alive("a", "b");
    for (let i = 0; i < 4; i++) {
      await seconds(4);
      await alive("b");
    }
    assert.deepEqual(status("a"), {
      state: "down",
      message: "heartbeat failure",
      address: "10.0.0.1",
    });
    assert.equal(status("b")?.state, "ready");
  });

  it("gives nodes it has not heard of six periods from its election", async () => {
    await add(node("a", "ready"));
    await seconds(30);
    assert.equal(status("a")?.state, "ready");
    await seconds(1);
    assert.equal(status("a")?.state, "down");
  });

  it("gives a node that joins later the same time to register", async () => {
    await seconds(100);
    await add(node("a", "unknown"));
    await seconds(30);
    assert.equal(status("a")?.state, "unknown");
    await seconds(1);
    assert.equal(status("a")?.state, "down");
  });

  it("brings a node back that beats again", async () => {
    await add(node("a", "ready"));
    await alive("a");
    await seconds(16);
    assert.equal(status("a")?.state, "down");
    await alive("a");
    assert.deepEqual(status("a"), { state: "ready", message: "", address: "10.0.0.1" });
  });

  it("takes the goodbye of a node for its last word, whatever beats came before", async () => {
    await add(node("a", "ready"), node("b", "down"));
    await report("a", { state: "down", message: "node left" }, ["a"]);
    assert.equal(status("a")?.state, "down");
    assert.equal(status("a")?.message, "node left");
    await report("b", { state: "down", message: "node left" }, ["b"]);
    assert.equal(status("b")?.state, "down");
  });

  it("refuses a batch under another leadership, so that it is sent again", async () => {
    await add(node("a", "unknown"));
    log.currentTerm = 2;
    await assert.rejects(report("a"));
    assert.equal(status("a")?.state, "unknown");
  });

  it("goes on looking after a write that failed", async () => {
    await add(node("a", "ready"));
    log.leader = false;
    await seconds(31);
    assert.equal(status("a")?.state, "ready");
    log.leader = true;
    await seconds(2);
    assert.equal(status("a")?.state, "down");
  });

  it("ends while it waits", async () => {
    stop.abort();
    await run;
  });
});

describe("manager/dispatcher/liveness nodeAfterReport", () => {
  const before = node("a", "ready", { description: description("h"), dataPathAddress: "d" });

  const same: readonly (readonly [string, Partial<NodeReport>])[] = [
    ["the state alone", {}],
    ["empty fields", { message: "", address: "", dataPathAddress: "" }],
    ["what is known", { address: "10.0.0.1", dataPathAddress: "d" }],
    ["an equal description", { description: description("h") }],
  ];
  for (const [fact, fields] of same) {
    it(`gives the very same node for ${fact}`, () => {
      assert.equal(nodeAfterReport(before, { nodeId: "a", state: "ready", ...fields }, 7), before);
    });
  }

  const news: readonly (readonly [string, Partial<NodeReport>, Partial<Node>])[] = [
    [
      "another state",
      { state: "down", message: "why" },
      { status: { state: "down", message: "why", address: "10.0.0.1" }, downSinceMs: 7 },
    ],
    [
      "another address",
      { address: "10.0.0.2" },
      { status: { state: "ready", message: "", address: "10.0.0.2" } },
    ],
    ["another description", { description: description("i") }, { description: description("i") }],
    ["another data path address", { dataPathAddress: "e" }, { dataPathAddress: "e" }],
    ["where it is seen", { outerAddress: "o" }, { outerAddress: "o" }],
  ];
  for (const [fact, fields, expected] of news) {
    it(`takes over ${fact} and keeps the rest`, () => {
      const after = nodeAfterReport(before, { nodeId: "a", state: "ready", ...fields }, 7);
      assert.deepEqual(after, { ...before, ...expected });
    });
  }

  it("keeps since when a node is down, and forgets it when it is back", () => {
    const down = nodeAfterReport(before, { nodeId: "a", state: "down" }, 5);
    const still = nodeAfterReport(down, { nodeId: "a", state: "down", message: "left" }, 6);
    assert.deepEqual([down.downSinceMs, still.downSinceMs], [5, 5]);
    assert.equal(nodeAfterReport(still, { nodeId: "a", state: "ready" }, 7).downSinceMs, 0);
  });

  it("fills a node that was never heard of", () => {
    const bare = Node.create({ id: "a" });
    const after = nodeAfterReport(bare, { nodeId: "a", state: "ready" }, 7);
    assert.deepEqual(after.status, { state: "ready", message: "", address: "" });
  });
});
