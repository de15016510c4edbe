/** Facts about a group of members over loopback: elections, replication, crashes, members that come and go. */
import assert from "node:assert/strict";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { newLog } from "../../../../src/common/log/log.ts";
import { eventually, TestGroup } from "../../../support/raft-members.ts";

describe("manager/raft (group)", function () {
  this.timeout(300_000);
  let group: TestGroup;

  beforeEach(async () => {
    group = new TestGroup();
    await group.open();
  });
  afterEach(() => group.close());

  it("a single member leads, commits, and finds everything again", async () => {
    const [only] = await group.form(1);
    assert.ok(only);
    await only.put("a");
    await only.put("b");
    only.checkpoint();
    await only.put("c");
    await only.kill();
    await only.start();
    await eventually("leads again", () => only.host.leadership().isLeader);
    assert.deepEqual(only.texts(), ["a", "b", "c"]);
    await only.put("d");
  });

  it("three members replicate, and readers on any of them see what was written before", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    for (let i = 0; i < 20; i++) {
      await leader.put(`line ${i}`);
      for (const member of members) {
        await member.host.readIndex();
        assert.ok(member.texts().includes(`line ${i}`));
      }
    }
    await group.same();
  });

  it("refuses proposals on a follower", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const follower = members.find((member) => member !== leader);
    await assert.rejects(follower?.host.propose(Buffer.from("x")) ?? Promise.resolve(), (e) =>
      hasCode(e, "unavailable"),
    );
  });

  it("elects another leader when the leader is killed, and takes the old one back", async () => {
    await group.form(3);
    const old = await group.leader();
    await old.put("before");
    await old.kill();
    const next = await group.leader();
    await next.put("between");
    await old.start();
    await group.settled();
    await group.same("between");
    assert.ok(old.texts().includes("before"));
  });

  it("loses nothing when all are killed at once and start in any order", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const puts = Array.from({ length: 200 }, (_, i) => leader.put(`line ${i}`));
    await Promise.all(puts);
    await Promise.all(members.map((member) => member.kill()));
    for (const member of [...members].reverse()) await member.start();
    await group.settled();
    await group.same("line 199");
    assert.equal(leader.texts().length, 200);
  });

  it("hands leadership over before a planned stop", async () => {
    await group.form(3);
    const leader = await group.leader();
    const { term } = leader.host.leadership();
    await leader.stop();
    const next = await group.leader();
    assert.equal(next.host.leadership().term, term + 1);
  });

  it("brings a member that was away too long up to date with a snapshot", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const away = members.find((member) => member !== leader);
    assert.ok(away);
    await away.put("x").catch(() => {
      // Only leaders take proposals.
    });
    await away.kill();
    const text = "x".repeat(1_000);
    for (let round = 0; round < 8; round++) {
      await Promise.all(Array.from({ length: 500 }, (_, i) => leader.put(`${round} ${i} ${text}`)));
      leader.checkpoint();
    }
    await eventually("the log is cut", () => (leader.host.stats()?.firstIndex ?? 0) > 1_000);
    const before = away.snapshotsInstalled;
    await away.start();
    await group.settled();
    await leader.put("after");
    await group.same("after");
    assert.equal(away.snapshotsInstalled, before + 1);
    await away.kill();
    await away.start();
    await group.same("after");
  });

  it("removes a member, which is told so", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const gone = members.find((member) => member !== leader);
    assert.ok(gone);
    await leader.host.removeMember(gone.member.raftId);
    assert.equal(leader.host.members().length, 2);
    await eventually("it knows that it was removed", () => gone.removed);
    await leader.put("still here");
  });

  it("tells a member that was removed while it was away", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const gone = members.find((member) => member !== leader);
    assert.ok(gone);
    await gone.kill();
    await leader.host.removeMember(gone.member.raftId);
    await gone.start();
    await eventually("it knows that it was removed", () => gone.removed);
  });

  it("refuses a removal that would lose the quorum", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const [away, other] = members.filter((member) => member !== leader);
    assert.ok(away && other);
    await away.kill();
    await eventually("it counts as unreachable", () =>
      leader.host.members().some((m) => m.nodeId === away.nodeId && !m.reachable),
    );
    await assert.rejects(leader.host.removeMember(other.member.raftId), (e) => {
      assert.ok(hasCode(e, "failed-precondition"));
      assert.match(String(e), /can't remove member from the raft/);
      return true;
    });
    await leader.host.removeMember(away.member.raftId);
  });

  it("hands leadership over instead of removing the leader itself", async () => {
    await group.form(3);
    const leader = await group.leader();
    await assert.rejects(leader.host.removeMember(leader.member.raftId), (e) =>
      hasCode(e, "unavailable"),
    );
    const next = await group.leader();
    assert.notEqual(next, leader);
    await next.host.removeMember(leader.member.raftId);
    await eventually("it knows that it was removed", () => leader.removed);
  });

  it("finds members again that come back under other addresses", async () => {
    const members = await group.form(3);
    await (await group.leader()).put("before");
    for (const member of members) {
      await member.kill();
      member.member = { ...member.member, address: "127.0.0.1:0" };
      await member.start();
      await group.settled();
    }
    await (await group.leader()).put("after");
    await group.same("after");
  });

  it("lets members that moved at the same time find each other through a third", async () => {
    const members = await group.form(3);
    const moved = members.slice(1);
    await Promise.all(moved.map((member) => member.kill()));
    for (const member of moved) {
      member.member = { ...member.member, address: "127.0.0.1:0" };
      await member.start();
    }
    await eventually("every member reaches every other", () =>
      members.every((m) => m.host.members().every((peer) => peer.reachable)),
    );
  });

  it("takes a member back that was away while all others were replaced", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    const away = members.find((member) => member !== leader);
    assert.ok(away);
    await away.stop();
    const old = members.filter((member) => member !== away);
    for (let i = 0; i < 2; i++) await group.join(leader);
    await eventually("the new ones vote", () =>
      leader.host.members().every((m) => !m.learner || m.nodeId === away.nodeId),
    );
    for (const gone of [...old].sort((a) => (a === leader ? 1 : -1))) {
      await eventually("it is out", async () => {
        const now = await group.leader();
        await now.host.removeMember(gone.member.raftId).catch(() => {
          // Leadership is handed over first.
        });
        return group.members.some(
          (m) =>
            m.running &&
            m !== gone &&
            m.host.leadership().isLeader &&
            m.host.members().every((peer) => peer.nodeId !== gone.nodeId),
        );
      });
      await gone.stop();
    }
    await (await group.leader()).put("after");
    await away.start();
    await group.same("after");
    await group.settled();
  });

  it("recovers a lone survivor with its state", async () => {
    const members = await group.form(3);
    const leader = await group.leader();
    await leader.put("kept");
    await group.same("kept");
    const survivor = members.find((member) => member !== leader);
    assert.ok(survivor);
    await Promise.all(members.map((member) => member.kill()));
    await survivor.start({ forceNewCluster: true });
    await eventually("it leads alone", () => survivor.host.leadership().isLeader);
    await survivor.put("new");
    assert.ok(survivor.texts().includes("kept"));
    assert.deepEqual(
      survivor.host.members().map((m) => m.nodeId),
      [survivor.nodeId],
    );
    const joined = await group.join(survivor);
    await eventually("the new member has it all", () => joined.texts().includes("kept"));
  });

  it("holds neither port nor files after it failed and was stopped, so that it can start again", async () => {
    const [only] = await group.form(1);
    assert.ok(only);
    const warnings: string[] = [];
    await only.stop();
    await only.start({ log: newLog((line) => warnings.push(line), { level: "warn" }) });
    await eventually("leads again", () => only.host.leadership().isLeader);
    await only.put("kept");
    only.host.onCommitted(() => {
      throw new Error("cannot be applied");
    });
    await only.host.propose(Buffer.from("poison"));
    await eventually("it has failed", () => only.fatal !== undefined);
    await only.stop();
    assert.doesNotMatch(warnings.join(""), /does not end by itself/);
    await only.start();
    await eventually("leads again", () => only.host.leadership().isLeader);
    assert.deepEqual(only.texts(), ["kept", "poison"]);
  });

  it("gives up leadership when its main thread hangs", async () => {
    await group.form(3);
    const leader = await group.leader();
    // The worker's pings are answered by this process, which must stop to look hung; so the answer is simulated by
    // stopping the whole event loop for longer than the limit, in which the other workers go on.
    const end = performance.now() + 8_000;
    while (performance.now() < end) {
      // Busy on purpose.
    }
    await group.settled();
    assert.ok(leader.host.leadership().term > 1);
  });
});
