/** Facts about the queues between the core, the disk and the main thread. */
import assert from "node:assert/strict";
import { ApplyQueue } from "../../../../manager/raft/apply-queue.ts";
import { message } from "../../../../manager/raft/core/message.ts";
import { type Entry, emptyConfState } from "../../../../manager/raft/core/types.ts";
import { MainThreadWatch } from "../../../../manager/raft/main-thread-watch.ts";
import { MemberChanges } from "../../../../manager/raft/member-changes.ts";
import { mergeAppends, Persister } from "../../../../manager/raft/persister.ts";
import { ProposalQueue } from "../../../../manager/raft/proposal-queue.ts";
import { ReadRounds } from "../../../../manager/raft/read-rounds.ts";
import { RaftConfChange } from "../../../../src/common/api/generated/api.ts";
import { ClusterError, hasCode } from "../../../../src/common/errors/cluster-error.ts";

const entry = (index: number, term = 1, bytes = 1): Entry => ({
  index,
  term,
  type: "normal",
  data: new Uint8Array(bytes),
});
const span = (from: number, to: number, term = 1, bytes = 1) =>
  Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, bytes));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("manager/raft/apply-queue", () => {
  it("delivers in order, passes over what the store has, and ends pushes when they are applied", () => {
    const delivered: number[] = [];
    const done: string[] = [];
    const queue = new ApplyQueue(3, (batch) =>
      delivered.push(...batch.entries.map((e) => e.index)),
    );
    queue.push(span(1, 2), () => done.push("1-2"));
    queue.push(span(3, 5), () => done.push("3-5"));
    queue.push(span(6, 6), () => done.push("6"));
    assert.deepEqual(delivered, [4, 5, 6]);
    assert.deepEqual(done, ["1-2"]);
    queue.acknowledged(5);
    assert.deepEqual(done, ["1-2", "3-5"]);
    queue.acknowledged(6);
    assert.deepEqual(done, ["1-2", "3-5", "6"]);
  });

  it("keeps only so many bytes under way", () => {
    let last = 0;
    const queue = new ApplyQueue(0, (batch) => {
      last = batch.lastIndex;
    });
    queue.push(span(1, 60, 1, 512 * 1024), () => {});
    assert.ok(last > 20 && last < 40, `${last}`);
    const before = last;
    queue.acknowledged(10);
    assert.ok(last > before);
  });

  it("holds everything back while a snapshot is installed", () => {
    const delivered: number[] = [];
    const queue = new ApplyQueue(0, (batch) =>
      delivered.push(...batch.entries.map((e) => e.index)),
    );
    queue.hold();
    queue.push(span(1, 10), () => {});
    assert.deepEqual(delivered, []);
    queue.release(8);
    assert.deepEqual(delivered, [9, 10]);
  });
});

describe("manager/raft/persister", () => {
  it("merges appends to what they would leave one after the other", () => {
    const write = mergeAppends(
      [
        message({ type: "storage-append", entries: span(5, 9), term: 1, vote: 2, commit: 4 }),
        message({ type: "storage-append", entries: span(7, 8, 2), term: 2, commit: 5 }),
        message({ type: "storage-append" }),
      ],
      undefined,
    );
    assert.deepEqual(
      write.entries.map((e) => [e.index, e.term]),
      [
        [5, 1],
        [6, 1],
        [7, 2],
        [8, 2],
      ],
    );
    assert.deepEqual(write.hardState, { term: 2, vote: 0, commit: 5 });
  });

  it("lets a snapshot drop the entries before it", () => {
    const snapshot = { index: 20, term: 2, confState: emptyConfState, data: { index: 20 } };
    const write = mergeAppends(
      [
        message({ type: "storage-append", entries: span(5, 9) }),
        message({ type: "storage-append", snapshot }),
        message({ type: "storage-append", entries: span(21, 22, 2) }),
      ],
      undefined,
    );
    assert.equal(write.snapshot?.index, 20);
    assert.deepEqual(
      write.entries.map((e) => e.index),
      [21, 22],
    );
  });

  it("releases responses only after the write, in order, and nothing after a failed one", async () => {
    const released: number[] = [];
    const writes: { resolve: () => void; reject: (e: Error) => void }[] = [];
    let failed: unknown;
    const persister = new Persister({
      write: () => new Promise((resolve, reject) => writes.push({ resolve, reject })),
      release: (responses) => released.push(...responses.map((r) => r.index)),
      onFailed: (error) => {
        failed = error;
      },
    });
    const push = (index: number) =>
      persister.push(
        message({
          type: "storage-append",
          entries: [entry(index)],
          responses: [message({ type: "app-resp", index })],
        }),
      );
    push(1);
    push(2);
    push(3);
    assert.deepEqual(released, []);
    writes[0]?.resolve();
    await turn();
    assert.deepEqual(released, [1]);
    assert.equal(writes.length, 2);
    writes[1]?.resolve();
    await turn();
    assert.deepEqual(released, [1, 2, 3]);
    push(4);
    push(5);
    writes[2]?.reject(new Error("the disk is broken"));
    await turn();
    assert.deepEqual(released, [1, 2, 3]);
    assert.match(String(failed), /broken/);
    push(6);
    assert.equal(writes.length, 3);
  });
});

describe("manager/raft/read-rounds", () => {
  it("shares one round among all readers that wait", async () => {
    const asked: Uint8Array[] = [];
    const rounds = new ReadRounds((context) => asked.push(context), { retry: 3, expire: 10 });
    const first = rounds.read();
    const others = [rounds.read(), rounds.read(), rounds.read()];
    assert.equal(asked.length, 1);
    rounds.answered({ index: 7, context: asked[0] ?? new Uint8Array() });
    assert.equal(await first, 7);
    assert.equal(asked.length, 2);
    rounds.answered({ index: 6, context: asked[0] ?? new Uint8Array() });
    rounds.answered({ index: 9, context: asked[1] ?? new Uint8Array() });
    assert.deepEqual(await Promise.all(others), [9, 9, 9]);
  });

  it("asks again, and gives up in the end", async () => {
    let asked = 0;
    const rounds = new ReadRounds(
      () => {
        asked++;
      },
      { retry: 3, expire: 10 },
    );
    const read = rounds.read();
    for (let i = 0; i < 12; i++) rounds.tick();
    assert.equal(asked, 4);
    await assert.rejects(read, (e) => hasCode(e, "unavailable"));
  });
});

describe("manager/raft/member-changes", () => {
  function changes(refuse: () => string | undefined) {
    const proposed: RaftConfChange[] = [];
    const log = { last: 0, applied: 0 };
    let id = 0;
    const queue = new MemberChanges({
      propose: (data) => {
        const refused = refuse();
        if (refused === undefined) proposed.push(RaftConfChange.decode(data));
        return { refused, index: ++log.last };
      },
      appliedIndex: () => log.applied,
      expireTicks: 5,
      newRequestId: () => ++id,
    });
    return { queue, proposed, log };
  }
  const remove = (raftId: number) => ({
    steps: [{ kind: "remove" as const, raftId }],
    members: [],
  });

  it("makes one change at a time, each until the joint phase is over", async () => {
    const { queue, proposed } = changes(() => undefined);
    const first = queue.change(remove(2));
    const second = queue.change(remove(3));
    assert.equal(proposed.length, 1);
    assert.equal(proposed[0]?.transition, "joint-implicit");
    queue.applied(1, { ...emptyConfState, voters: [1], votersOutgoing: [1, 2] });
    queue.applied(0, { ...emptyConfState, voters: [1] });
    await first;
    assert.equal(proposed.length, 2);
    queue.fail(new ClusterError("unavailable", "leadership was lost"));
    await assert.rejects(second, (e) => hasCode(e, "unavailable"));
  });

  it("proposes again what was refused, until its time is up", async () => {
    let refused: string | undefined = "another change is pending";
    const { queue, proposed, log } = changes(() => refused);
    const change = queue.change(remove(2));
    queue.tick();
    refused = undefined;
    log.applied = log.last;
    queue.tick();
    assert.equal(proposed.length, 1);
    for (let i = 0; i < 4; i++) queue.tick();
    await assert.rejects(change, (e) => hasCode(e, "deadline-exceeded"));
  });

  it("does not fill the log with refused changes while nothing is applied", async () => {
    const { queue, log } = changes(() => "another change is pending");
    const change = queue.change(remove(2));
    for (let i = 0; i < 3; i++) queue.tick();
    assert.equal(log.last, 1);
    log.applied = 1;
    queue.tick();
    assert.equal(log.last, 2);
    queue.fail(new ClusterError("unavailable", "leadership was lost"));
    await assert.rejects(change, (e) => hasCode(e, "unavailable"));
  });
});

describe("manager/raft/proposal-queue", () => {
  it("sends what is proposed in one turn together and tells each where it went", async () => {
    const posted: { id: number; lengths: Uint32Array }[] = [];
    const queue = new ProposalQueue(
      (m) => {
        if (m.type === "propose") posted.push(m);
      },
      { itemMax: 10, totalMax: 20 },
    );
    const puts = [new Uint8Array(3), new Uint8Array(0), new Uint8Array(5)].map((d) =>
      queue.propose(d),
    );
    await turn();
    assert.deepEqual(
      posted.map((m) => [...m.lengths]),
      [[3, 0, 5]],
    );
    queue.proposed({ id: 1, firstIndex: 7, term: 2 });
    assert.deepEqual(
      (await Promise.all(puts)).map((p) => p.index),
      [7, 8, 9],
    );
  });

  it("pushes back until what waits is applied, and refuses what is too large", async () => {
    const queue = new ProposalQueue(() => {}, { itemMax: 10, totalMax: 20 });
    const put = (bytes: number) => queue.propose(new Uint8Array(bytes));
    await assert.rejects(put(11), (e) => hasCode(e, "invalid-argument"));
    const puts = [put(10), put(10)];
    await assert.rejects(put(1), (e) => hasCode(e, "resource-exhausted"));
    await turn();
    queue.proposed({ id: 1, firstIndex: 1, term: 1 });
    await Promise.all(puts);
    await assert.rejects(put(1), (e) => hasCode(e, "resource-exhausted"));
    queue.applied(2);
    void put(10).catch(() => {
      // Never answered here.
    });
    queue.end(new ClusterError("unavailable", "end"));
  });
});

describe("manager/raft/main-thread-watch", () => {
  it("speaks up after five unanswered pings, and not before", () => {
    let silent = 0;
    const watch = new MainThreadWatch({
      post: () => {},
      onSilent: () => {
        silent++;
      },
    });
    for (let i = 0; i < 5; i++) watch.beat();
    assert.equal(silent, 0);
    watch.beat();
    assert.equal(silent, 1);
    watch.answered();
    watch.beat();
    assert.equal(silent, 1);
  });
});
