/** Facts about streams of managers that claim to be another member, or to speak for one. */
import assert from "node:assert/strict";
import { message } from "../../../../manager/raft/core/message.ts";
import { framed, PeerStream } from "../../../../manager/raft/peer-stream.ts";
import { dialStream } from "../../../../manager/raft/peer-tls.ts";
import { wireMessage } from "../../../../manager/raft/wire.ts";
import {
  RaftFrame,
  RaftFrameReply,
  type RaftWireMessage,
} from "../../../../src/common/api/generated/api.ts";
import { TestGroup, type TestMember } from "../../../support/raft-members.ts";
import { type TestNode, testCluster } from "../../../support/test-cluster.ts";

describe("manager/raft (intruders)", function () {
  this.timeout(300_000);
  let group: TestGroup;
  let follower: TestMember;
  let other: TestMember;

  before(async () => {
    group = new TestGroup();
    await group.open();
    const members = await group.form(3);
    const leader = await group.leader();
    const [one, two] = members.filter((member) => member !== leader);
    assert.ok(one && two);
    follower = one;
    other = two;
  });
  after(() => group.close());

  /** Sends one frame to the follower; resolves with what it answers: the code of its refusal, or "hello". */
  async function answerTo(
    stranger: TestNode,
    { as, messages = [] }: { readonly as: number; readonly messages?: readonly RaftWireMessage[] },
  ): Promise<string> {
    const { clusterId } = group.cluster;
    const expected = { clusterId, nodeId: follower.nodeId };
    const hello = {
      clusterId,
      from: { raftId: as, nodeId: stranger.nodeId, address: "127.0.0.1:1" },
      toRaftId: follower.member.raftId,
      featureLevel: 1,
      leaderTerm: 0,
      match: 0,
      others: [],
    };
    return new Promise((resolve, reject) => {
      const socket = dialStream(follower.member.address, stranger.tls, expected);
      const stream = new PeerStream(socket, "dialling", {
        onFrame: (bytes) => {
          resolve(RaftFrameReply.decode(bytes).refusal?.code ?? "hello");
          stream.destroy();
        },
        onDrain: () => {},
        onEnd: (error) => reject(error ?? new Error("the stream ended without an answer")),
      });
      stream.write(framed(RaftFrame.encode(RaftFrame.create({ hello, messages }))));
    });
  }

  it("refuses a manager that takes the id of another one", async () => {
    const stranger = await group.cluster.node("manager");
    assert.equal(await answerTo(stranger, { as: other.member.raftId }), "permission-denied");
  });

  it("refuses a worker, and hears nothing of a manager of another cluster", async () => {
    const worker = await group.cluster.node("worker");
    assert.equal(await answerTo(worker, { as: 4711 }), "permission-denied");
    const elsewhere = await (await testCluster()).node("manager");
    // It is told to trust this cluster; this cluster does not trust it.
    const tls = { ...elsewhere.tls, roots: group.cluster.root.certificate };
    await assert.rejects(answerTo({ ...elsewhere, tls }, { as: 4711 }));
  });

  it("hears nobody who speaks for another member", async () => {
    const stranger = await group.cluster.node("manager");
    const { term } = follower.host.leadership();
    const spoken = message({
      type: "app",
      to: follower.member.raftId,
      from: other.member.raftId,
      term: term + 100,
    });
    const messages = [wireMessage(spoken)];
    assert.equal(await answerTo(stranger, { as: 4711, messages }), "hello");
    await (await group.leader()).put("after");
    await group.same("after");
    assert.equal(follower.host.leadership().term, term);
  });
});
