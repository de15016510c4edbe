/**
 * Joining and leaving the Raft group, over a real store.
 */
import assert from "node:assert/strict";
import { type GroupChanges, joinGroup, leaveGroup } from "../../../../manager/membership/server.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  Cluster,
  Node,
  type NodeRole,
  NodeSpec,
  NodeStatus,
  RaftJoinRequest,
  RaftLeaveRequest,
  RaftMember,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { type LocalLog, localStore } from "../../../support/local-log.ts";

/** A group that notes what is done to it. */
class FakeGroup implements GroupChanges {
  list: RaftMember[] = [];
  readonly done: string[] = [];
  /** What happens in the middle of a change; it fails by throwing. */
  during: () => Promise<void> = async () => {};

  members(): readonly RaftMember[] {
    return this.list;
  }

  async addMember(member: RaftMember): Promise<void> {
    await this.during();
    this.done.push(`add ${member.raftId}`);
    this.list = [...this.list.filter(({ raftId }) => raftId !== member.raftId), member];
  }

  async removeMember(raftId: number): Promise<void> {
    await this.during();
    this.done.push(`remove ${raftId}`);
    this.list = this.list.filter((member) => member.raftId !== raftId);
  }
}

describe("manager/membership/server", () => {
  let store: Store;
  let log: LocalLog;
  let group: FakeGroup;
  const first = RaftMember.create({ raftId: 1, nodeId: "first", address: "first:1" });
  const member = RaftMember.create({ raftId: 7, nodeId: "n", address: "n:1" });

  beforeEach(() => {
    ({ store, log } = localStore({ clock: new FakeClock() }));
    group = new FakeGroup();
    group.list = [first];
  });

  function add(role: NodeRole, desiredRole: NodeRole = role): Promise<void> {
    const spec = NodeSpec.create({ desiredRole });
    const status = NodeStatus.create({ state: "ready", address: "10.0.0.1" });
    return store.update((tx) => tx.create("node", Node.create({ id: "n", spec, role, status })));
  }

  function change(fields: Partial<Node>): Promise<void> {
    return store.update((tx) => {
      tx.update("node", Node.create({ ...tx.get("node", "n"), ...fields }));
    });
  }

  function join(fields: Partial<RaftMember> = {}) {
    return joinGroup(store, group, RaftJoinRequest.create({ member: { ...member, ...fields } }));
  }

  function leave() {
    return leaveGroup(store, group, RaftLeaveRequest.create({ nodeId: "n" }));
  }

  const quorumLost = async () => {
    throw new ClusterError("failed-precondition", "quorum");
  };

  describe("join", () => {
    it("adds the manager and notes its place", async () => {
      await add("manager");
      await store.update((tx) =>
        tx.create("cluster", Cluster.create({ id: "c", featureLevel: 3 })),
      );
      const response = await join();
      assert.deepEqual(response, { raftId: 7, members: [first, member], featureLevel: 3 });
      assert.deepEqual(store.view().get("node", "n")?.manager, { raftId: 7, address: "n:1" });
    });

    it("changes nothing when asked again", async () => {
      await add("manager");
      await join();
      const { length } = log.entries;
      assert.deepEqual((await join()).members, [first, member]);
      assert.deepEqual(group.done, ["add 7"]);
      assert.equal(log.entries.length, length);
    });

    it("notes the new address of a member it knows", async () => {
      await add("manager");
      await join();
      await join({ address: "n:2" });
      assert.deepEqual(group.done, ["add 7", "add 7"]);
      assert.equal(store.view().get("node", "n")?.manager?.address, "n:2");
    });

    it("takes the old self of a member out that lost its disk", async () => {
      await add("manager");
      await join();
      await join({ raftId: 8 });
      assert.deepEqual(group.done, ["add 7", "remove 7", "add 8"]);
      assert.equal(store.view().get("node", "n")?.manager?.raftId, 8);
    });

    const refusals: readonly (readonly [string, Partial<RaftMember>, string])[] = [
      ["a member without an id", { raftId: 0 }, "invalid-argument"],
      ["a member without an address", { address: "" }, "invalid-argument"],
      ["a node it does not know", { nodeId: "stranger" }, "not-found"],
    ];
    for (const [fact, fields, code] of refusals) {
      it(`refuses ${fact}`, async () => {
        await add("manager");
        await assert.rejects(join(fields), { code });
        assert.deepEqual(group.done, []);
      });
    }

    it("refuses a request without a member", async () => {
      const request = joinGroup(store, group, RaftJoinRequest.create());
      await assert.rejects(request, { code: "invalid-argument" });
    });

    const roles: readonly (readonly [string, NodeRole, NodeRole])[] = [
      ["a worker", "worker", "worker"],
      ["a worker that is not promoted yet", "worker", "manager"],
      ["a manager that is being demoted", "manager", "worker"],
    ];
    for (const [fact, role, desired] of roles) {
      it(`refuses ${fact}`, async () => {
        await add(role, desired);
        await assert.rejects(join(), {
          code: "failed-precondition",
          message: "node n is not a manager",
        });
        assert.deepEqual(group.done, []);
      });
    }

    it("notes nothing when the group refuses", async () => {
      await add("manager");
      group.during = quorumLost;
      await assert.rejects(join(), { code: "failed-precondition" });
      assert.equal(store.view().get("node", "n")?.manager, undefined);
    });

    it("notes nothing for a node that was removed meanwhile", async () => {
      await add("manager");
      group.during = () => store.update((tx) => tx.remove("node", "n"));
      await join();
      assert.equal(store.view().get("node", "n"), undefined);
    });

    it("notes nothing for a node that was demoted meanwhile", async () => {
      await add("manager");
      group.during = () => change({ role: "worker" });
      await join();
      assert.equal(store.view().get("node", "n")?.manager, undefined);
    });
  });

  describe("leave", () => {
    it("takes the node out of the group and makes it a worker that is down", async () => {
      await add("manager");
      await join();
      await leave();
      assert.deepEqual(group.list, [first]);
      const node = store.view().get("node", "n");
      assert.equal(node?.role, "worker");
      assert.equal(node?.spec?.desiredRole, "worker");
      assert.equal(node?.manager, undefined);
      assert.deepEqual(node?.status, { state: "down", message: "node left", address: "10.0.0.1" });
    });

    it("changes nothing when the quorum would be lost", async () => {
      await add("manager");
      await join();
      const before = store.view().get("node", "n");
      group.during = quorumLost;
      await assert.rejects(leave(), { code: "failed-precondition" });
      assert.equal(store.view().get("node", "n"), before);
    });

    it("takes all members of the node out", async () => {
      await add("manager");
      group.list = [first, member, { ...member, raftId: 8 }];
      await leave();
      assert.deepEqual(group.done, ["remove 7", "remove 8"]);
    });

    it("is content with a node that is gone already", async () => {
      await leave();
      assert.deepEqual(group.done, []);
      assert.equal(log.entries.length, 0);
    });
  });
});
