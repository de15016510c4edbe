/** Facts about streams of managers that claim to be another member, or to speak for one. */
import assert from "node:assert/strict";
import { Client, type ServiceError, status } from "@grpc/grpc-js";
import { message } from "../../../../manager/raft/core/message.ts";
import { dialCredentials, peerDialOptions } from "../../../../manager/raft/peer-tls.ts";
import { wireMessage } from "../../../../manager/raft/wire.ts";
import {
  RaftFrame,
  RaftFrameReply,
  RaftTransportService,
} from "../../../../src/common/api/generated/api.ts";
import type { TlsMaterial } from "../../../../src/common/identity/types.ts";
import { TestGroup, type TestMember } from "../../../support/raft-members.ts";

describe("manager/raft (intruders)", function () {
  this.timeout(30_000);
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

  /** Opens a stream to the follower; `end` gives the status it ends with once the frame was taken. */
  function stream(tls: TlsMaterial) {
    const { clusterId } = group.cluster;
    const client = new Client(
      follower.member.address,
      dialCredentials(tls, { clusterId, nodeId: follower.nodeId }),
      peerDialOptions,
    );
    const call = client.makeBidiStreamRequest(
      RaftTransportService.stream.path,
      (frame: RaftFrame) => Buffer.from(RaftFrame.encode(frame)),
      (bytes: Buffer) => RaftFrameReply.decode(bytes),
    );
    const ended = new Promise<number>((resolve) => {
      call.on("data", () => call.end());
      call.on("error", (error: ServiceError) => resolve(error.code));
      call.on("end", () => resolve(status.OK));
    });
    return {
      call,
      ended: ended.finally(() => client.close()),
      hello: (raftId: number, nodeId: string) => ({
        clusterId,
        from: { raftId, nodeId, address: "127.0.0.1:1" },
        toRaftId: follower.member.raftId,
        featureLevel: 1,
        leaderTerm: 0,
        match: 0,
        others: [],
      }),
    };
  }

  it("refuses a manager that takes the id of another one", async () => {
    const stranger = await group.cluster.node("manager");
    const { call, ended, hello } = stream(stranger.tls);
    call.write(RaftFrame.create({ hello: hello(other.member.raftId, stranger.nodeId) }));
    assert.equal(await ended, status.PERMISSION_DENIED);
  });

  it("hears nobody who speaks for another member", async () => {
    const stranger = await group.cluster.node("manager");
    const { term } = follower.host.leadership();
    const { call, ended, hello } = stream(stranger.tls);
    const spoken = message({
      type: "app",
      to: follower.member.raftId,
      from: other.member.raftId,
      term: term + 100,
    });
    call.write(
      RaftFrame.create({ hello: hello(4711, stranger.nodeId), messages: [wireMessage(spoken)] }),
    );
    assert.equal(await ended, status.OK);
    await (await group.leader()).put("after");
    await group.same("after");
    assert.equal(follower.host.leadership().term, term);
  });
});
