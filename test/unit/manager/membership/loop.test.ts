/**
 * The leader's loop over roles and the Raft group, over a real store.
 */
import assert from "node:assert/strict";
import type { GroupMember } from "../../../../manager/membership/decide.ts";
import { type Group, MembershipLoop } from "../../../../manager/membership/loop.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  Cluster,
  ManagerStatus,
  Node,
  type NodeRole,
  NodeSpec,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { type LocalLog, localStore } from "../../../support/local-log.ts";
import { settled } from "../../../support/message-queue.ts";

/** A group that takes members out, or refuses to. */
class FakeGroup implements Group {
  list: GroupMember[] = [];
  removed: number[] = [];
  tries = 0;
  refusal: ClusterError | undefined;

  members(): readonly GroupMember[] {
    return this.list;
  }

  async removeMember(raftId: number): Promise<void> {
    this.tries += 1;
    if (this.refusal !== undefined) throw this.refusal;
    this.removed.push(raftId);
    this.list = this.list.filter((member) => member.raftId !== raftId);
  }
}

describe("manager/membership/loop", () => {
  let clock: FakeClock;
  let store: Store;
  let log: LocalLog;
  let group: FakeGroup;
  let loop: MembershipLoop;
  let stop: AbortController;
  let run: Promise<void>;

  beforeEach(() => {
    clock = new FakeClock();
    ({ store, log } = localStore({ clock }));
    group = new FakeGroup();
    stop = new AbortController();
    loop = new MembershipLoop(store, group, 1, { clock, log: silentLog });
    run = Promise.resolve();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });

  function add(id: string, desiredRole: NodeRole, role: NodeRole): Promise<void> {
    const spec = NodeSpec.create({ desiredRole });
    const manager =
      role === "manager" ? ManagerStatus.create({ raftId: 7, address: "a:1" }) : undefined;
    return store.update((tx) => tx.create("node", Node.create({ id, spec, role, manager })));
  }

  function want(id: string, desiredRole: NodeRole): Promise<void> {
    return store.update((tx) => {
      const node = tx.get("node", id);
      tx.update("node", Node.create({ ...node, spec: NodeSpec.create({ desiredRole }) }));
    });
  }

  async function started(): Promise<void> {
    await store.update((tx) => tx.create("cluster", Cluster.create({ id: "c" })));
    run = loop.run(stop.signal);
    await pass(200);
  }

  /** Lets time pass in steps that leave the store its turns of the event loop. */
  async function pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 20) {
      await clock.advance(Math.min(20, left));
      for (let turn = 0; turn < 4; turn++) await settled();
    }
  }

  function node(id: string): Node | undefined {
    return store.view().get("node", id);
  }

  it("promotes a node", async () => {
    await add("a", "manager", "worker");
    await started();
    assert.equal(node("a")?.role, "manager");
    assert.equal(group.tries, 0);
  });

  it("demotes a node after the group went on without it, and forgets its place there", async () => {
    await add("a", "worker", "manager");
    group.list = [{ nodeId: "a", raftId: 7, address: "a:1" }];
    await started();
    assert.deepEqual(group.removed, [7]);
    assert.equal(node("a")?.role, "worker");
    assert.equal(node("a")?.manager, undefined);
  });

  it("keeps the role of a manager the group cannot do without, and tries again", async () => {
    await add("a", "worker", "manager");
    group.list = [{ nodeId: "a", raftId: 7, address: "a:1" }];
    group.refusal = new ClusterError("failed-precondition", "quorum");
    await started();
    assert.equal(group.tries, 1);
    await pass(4_000);
    assert.equal(group.tries, 1);
    await pass(1_100);
    assert.equal(group.tries, 2);
    assert.equal(node("a")?.role, "manager");
    group.refusal = undefined;
    await pass(5_100);
    assert.equal(node("a")?.role, "worker");
  });

  it("goes on with other nodes when one step is refused", async () => {
    await add("a", "worker", "manager");
    await add("b", "manager", "worker");
    group.list = [{ nodeId: "a", raftId: 7, address: "a:1" }];
    group.refusal = new ClusterError("failed-precondition", "quorum");
    await started();
    assert.equal(node("b")?.role, "manager");
  });

  it("looks at once when it is told of a change", async () => {
    await add("a", "worker", "worker");
    await started();
    await want("a", "manager");
    loop.changed();
    await pass(100);
    assert.equal(node("a")?.role, "manager");
  });

  it("looks now and then without being told", async () => {
    await add("a", "worker", "worker");
    await started();
    await want("a", "manager");
    await pass(4_000);
    assert.equal(node("a")?.role, "worker");
    await pass(1_100);
    assert.equal(node("a")?.role, "manager");
  });

  it("writes nothing and does not spin when all is as it should be", async () => {
    await add("a", "manager", "manager");
    group.list = [{ nodeId: "a", raftId: 7, address: "a:1" }];
    await started();
    const { length } = log.entries;
    await pass(6_000);
    assert.equal(log.entries.length, length);
  });

  it("demotes a node without a spec once", async () => {
    await store.update((tx) => tx.create("node", Node.create({ id: "a", role: "manager" })));
    await started();
    const { length } = log.entries;
    assert.equal(node("a")?.role, "worker");
    await pass(6_000);
    assert.equal(log.entries.length, length);
  });

  it("notes the address a manager moved to, once", async () => {
    await add("a", "manager", "manager");
    group.list = [{ nodeId: "a", raftId: 7, address: "a:1" }];
    await started();
    const { length } = log.entries;
    group.list = [{ nodeId: "a", raftId: 7, address: "a:2" }];
    loop.changed();
    await pass(200);
    assert.deepEqual(node("a")?.manager, { raftId: 7, address: "a:2" });
    assert.equal(log.entries.length, length + 1);
  });

  it("takes members out whose node is gone", async () => {
    group.list = [{ nodeId: "x", raftId: 9, address: "a:1" }];
    await started();
    assert.deepEqual(group.removed, [9]);
  });

  it("takes nobody out before the first objects of the cluster are there", async () => {
    group.list = [{ nodeId: "a", raftId: 9, address: "a:1" }];
    run = loop.run(stop.signal);
    await pass(6_000);
    assert.equal(group.tries, 0);
  });

  it("changes no role under another leadership", async () => {
    await add("a", "manager", "worker");
    log.currentTerm = 2;
    await started();
    await pass(10_000);
    assert.equal(node("a")?.role, "worker");
  });

  it("ends while it waits", async () => {
    await started();
    stop.abort();
    await run;
  });
});
