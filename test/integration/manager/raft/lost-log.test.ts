/** Facts about members whose log is damaged, cut or gone: they come back anew, or say why they cannot. */
import assert from "node:assert/strict";
import { cp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { eventually, TestGroup, type TestMember } from "../../../support/raft-members.ts";

describe("manager/raft (lost log)", function () {
  this.timeout(300_000);
  let group: TestGroup;

  beforeEach(async () => {
    group = new TestGroup();
    await group.open();
  });
  afterEach(() => group.close());

  const logDir = (member: TestMember) => join(member.dir, "raft", "log");
  async function segmentFile(member: TestMember): Promise<string> {
    const [name = ""] = (await readdir(logDir(member))).filter((f) => f.endsWith(".log"));
    return join(logDir(member), name);
  }

  /** Three members with some lines, of which one follower is stopped. */
  async function withVictim(
    options: { checkpoint?: boolean } = {},
  ): Promise<{ victim: TestMember; leader: TestMember }> {
    const members = await group.form(3);
    const leader = await group.leader();
    for (let i = 0; i < 30; i++) await leader.put(`line ${i}`);
    await group.same("line 29");
    const victim = members.find((member) => member !== leader);
    assert.ok(victim);
    if (options.checkpoint === true) victim.checkpoint();
    await victim.stop();
    return { victim, leader };
  }

  async function comesBackAnew(
    victim: TestMember,
    leader: TestMember,
    start: Parameters<TestMember["start"]>[0] = {},
  ): Promise<void> {
    const oldId = victim.member.raftId;
    await victim.start(start);
    await eventually("it votes under a new id", () => {
      const found = leader.host.members().find((m) => m.nodeId === victim.nodeId);
      return found !== undefined && found.raftId !== oldId && !found.learner;
    });
    await leader.put("after");
    await group.same("after");
    assert.notEqual(victim.host.raftId(), oldId);
    assert.equal(leader.host.members().length, 3);
    await victim.kill();
    await victim.start();
    await group.same("after");
  }

  it("a cut tail", async () => {
    const { victim, leader } = await withVictim();
    const file = await segmentFile(victim);
    await truncate(file, (await readFile(file)).length - 500);
    await comesBackAnew(victim, leader);
  });

  it("a cut tail, with a checkpoint that is ahead of the empty log", async () => {
    const { victim, leader } = await withVictim({ checkpoint: true });
    const file = await segmentFile(victim);
    await truncate(file, (await readFile(file)).length - 500);
    await comesBackAnew(victim, leader);
  });

  it("a damaged middle", async () => {
    const { victim, leader } = await withVictim();
    const file = await segmentFile(victim);
    const bytes = await readFile(file);
    const middle = Math.floor(bytes.length / 2);
    bytes.fill(0x55, middle, middle + 64);
    await writeFile(file, bytes);
    await comesBackAnew(victim, leader);
  });

  it("a database that cannot be opened", async () => {
    const { victim, leader } = await withVictim();
    await writeFile(await segmentFile(victim), "not a segment\n");
    await comesBackAnew(victim, leader, { joinMembers: [...leader.host.members()] });
  });

  it("a log folder that is gone, with the managers known from elsewhere", async () => {
    const { victim, leader } = await withVictim();
    await rm(logDir(victim), { recursive: true });
    const oldId = victim.member.raftId;
    await victim.start({ joinMembers: [...leader.host.members()] });
    await eventually("it votes under a new id", () => {
      const found = leader.host.members().find((m) => m.nodeId === victim.nodeId);
      return found !== undefined && found.raftId !== oldId && !found.learner;
    });
  });

  it("a tail that even the floor does not know, by what the leader knows", async () => {
    const { victim, leader } = await withVictim();
    const copy = join(victim.dir, "copy");
    await cp(join(victim.dir, "raft"), copy, { recursive: true });
    await victim.start();
    await leader.put("acknowledged by all");
    await group.same("acknowledged by all");
    const reached = leader.host.members();
    assert.equal(reached.length, 3);
    await victim.kill();
    // Log and floor of a second ago: what a disk that lied about its sync leaves behind.
    await rm(join(victim.dir, "raft"), { recursive: true });
    await cp(copy, join(victim.dir, "raft"), { recursive: true });
    await comesBackAnew(victim, leader);
  });

  it("a checkpoint that is gone is learned from the others", async () => {
    const { victim, leader } = await withVictim();
    await victim.start();
    const text = "x".repeat(500);
    for (let round = 0; round < 8; round++) {
      await Promise.all(Array.from({ length: 500 }, (_, i) => leader.put(`${round} ${i} ${text}`)));
      await group.same();
      victim.checkpoint();
    }
    await eventually("the log is cut", () => (victim.host.stats()?.firstIndex ?? 0) > 1_000);
    await victim.stop();
    victim.forgetCheckpoint();
    await comesBackAnew(victim, leader);
  });

  it("the only manager refuses to start, and starts with what is left when told to", async () => {
    const [only] = await group.form(1);
    assert.ok(only);
    for (let i = 0; i < 30; i++) await only.put(`line ${i}`);
    await only.stop();
    const file = await segmentFile(only);
    await truncate(file, (await readFile(file)).length - 500);
    await assert.rejects(only.start(), (error) => {
      assert.ok(hasCode(error, "failed-precondition"));
      assert.match(String(error), /ends at index \d+, but reached \d+.*--force-new-cluster/);
      return true;
    });
    await only.start({ forceNewCluster: true });
    await eventually("it leads", () => only.host.leadership().isLeader);
    assert.ok(only.texts().length > 20 && only.texts().length < 30);
    await only.put("goes on");
  });

  it("a manager that set its log aside goes on alone with its checkpoint and what the log still had", async () => {
    const members = await group.form(2);
    const leader = await group.leader();
    const victim = members.find((member) => member !== leader);
    assert.ok(victim);
    for (let i = 0; i < 10; i++) await leader.put(`line ${i}`);
    await group.same("line 9");
    victim.checkpoint();
    for (let i = 10; i < 30; i++) await leader.put(`line ${i}`);
    await group.same("line 29");
    await victim.stop();
    await leader.kill();
    const file = await segmentFile(victim);
    await truncate(file, (await readFile(file)).length - 500);
    // Nobody is there to take it in anew.
    await victim.start();
    assert.notEqual(victim.host.raftId(), victim.member.raftId);
    await victim.kill();
    await victim.start({ forceNewCluster: true });
    await eventually("it leads", () => victim.host.leadership().isLeader);
    assert.ok(victim.texts().length > 20 && victim.texts().length < 30);
    await victim.put("goes on");
    assert.equal(victim.host.members().length, 1);
    await victim.kill();
    await victim.start();
    await eventually("it leads again", () => victim.host.leadership().isLeader);
    assert.ok(victim.texts().includes("goes on"));
  });

  it("two managers that both lost their logs say so, and on which of them to go on", async () => {
    const members = await group.form(2);
    const leader = await group.leader();
    await leader.put("old");
    await group.same("old");
    for (const member of members) member.checkpoint();
    await leader.put("new");
    await group.same("new");
    const [newest] = members;
    assert.ok(newest);
    newest.checkpoint();
    for (const member of members) await member.stop();
    for (const member of members) {
      const file = await segmentFile(member);
      await truncate(file, (await readFile(file)).length - 300);
    }
    for (const member of members) await member.start();
    const texts = () => members.map((member) => member.host.standstill() ?? "");
    await eventually(
      "both say so",
      () => texts().every((text) => /2 of 2 lost their raft logs.*--force-new-cluster/.test(text)),
      30_000,
    );
    assert.match(texts()[0] ?? "", /on this node/);
    assert.ok(texts()[1]?.includes(`on node ${newest.nodeId} (${newest.member.address})`));
  });

  it("a manager that stayed whole learns that the other one cannot come back without it being told to", async () => {
    const members = await group.form(2);
    const leader = await group.leader();
    await leader.put("kept");
    await group.same("kept");
    const victim = members.find((member) => member !== leader);
    assert.ok(victim);
    await victim.stop();
    const file = await segmentFile(victim);
    await truncate(file, (await readFile(file)).length - 300);
    await victim.start();
    await eventually(
      "the whole one says so",
      () => /1 of 2 lost.* on this node/.test(leader.host.standstill() ?? ""),
      40_000,
    );
    await eventually("and so does the other", () =>
      (victim.host.standstill() ?? "").includes(`on node ${leader.nodeId}`),
    );
  });

  it("one that lost its log and was removed meanwhile learns that, and asks no more", async () => {
    const { victim, leader } = await withVictim({ checkpoint: true });
    await leader.host.removeMember(victim.member.raftId);
    const file = await segmentFile(victim);
    await truncate(file, (await readFile(file)).length - 500);
    await victim.start();
    await eventually("it knows", () => victim.removed);
    assert.equal(leader.host.members().length, 2);
    assert.equal(victim.fatal, undefined);
  });
});
