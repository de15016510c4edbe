/**
 * What a manager learns of its agents goes to the leader in batches, and is not lost when that fails.
 */
import assert from "node:assert/strict";
import { mergeReports, ReportBatch } from "../../../../manager/dispatcher/report-batch.ts";
import {
  NodeDescription,
  NodeReport,
  type NodeReportBatch,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { settled } from "../../../support/message-queue.ts";

function report(nodeId: string, fields: Partial<NodeReport> = {}): NodeReport {
  return NodeReport.create({ nodeId, state: "ready", ...fields });
}

const description = (hostname: string) => NodeDescription.create({ hostname });

describe("manager/dispatcher/report-batch", () => {
  let clock: FakeClock;
  let stop: AbortController;
  let batch: ReportBatch;
  let run: Promise<void>;
  let taken: NodeReportBatch[];
  let refusal: Error | undefined;
  /** Set when the leader is to keep the manager waiting. */
  let answer: Promise<void>;

  beforeEach(async () => {
    [clock, stop, taken, refusal] = [new FakeClock(), new AbortController(), [], undefined];
    answer = Promise.resolve();
    const deliver = async (delivered: NodeReportBatch) => {
      await answer;
      if (refusal !== undefined) throw refusal;
      taken.push(delivered);
    };
    batch = new ReportBatch(deliver, { clock, log: silentLog });
    run = batch.run(stop.signal);
    await settled();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });

  /** Reports and signs of life of each batch taken so far. */
  function seen(): string[] {
    return taken.map(({ reports, liveNodeIds }) =>
      [...reports.map(({ nodeId }) => nodeId), "|", ...liveNodeIds].join(" "),
    );
  }

  it("waits a moment for company, and sends the reports together", async () => {
    batch.add(report("a"));
    await settled();
    await clock.advance(99);
    batch.add(report("b"));
    assert.deepEqual(seen(), []);
    await clock.advance(1);
    assert.deepEqual(seen(), ["a b |"]);
  });

  it("sends signs of life once a second, each node once", async () => {
    batch.alive("a");
    batch.alive("b");
    batch.alive("a");
    await clock.advance(999);
    assert.deepEqual(seen(), []);
    await clock.advance(1);
    assert.deepEqual(seen(), ["| a b"]);
  });

  it("sends signs of life along with reports", async () => {
    batch.alive("a");
    batch.add(report("b"));
    await settled();
    await clock.advance(100);
    assert.deepEqual(seen(), ["b | a"]);
  });

  it("sends nothing when there is nothing to say", async () => {
    await clock.advance(10_000);
    assert.deepEqual(seen(), []);
  });

  it("sends many reports in several batches", async () => {
    for (let i = 0; i < 450; i++) batch.add(report(`n${i}`));
    await settled();
    await clock.advance(300);
    assert.deepEqual(
      taken.map(({ reports }) => reports.length),
      [200, 200, 50],
    );
  });

  it("keeps reports the leader did not take, and lets newer ones win", async () => {
    refusal = new Error("no leader");
    batch.add(report("a", { address: "old", description: description("old") }));
    batch.add(report("b"));
    await settled();
    await clock.advance(250);
    batch.add(report("a", { address: "new" }));
    refusal = undefined;
    await clock.advance(250);
    assert.equal(taken.length, 1);
    const a = taken[0]?.reports.find(({ nodeId }) => nodeId === "a");
    assert.equal(a?.address, "new");
    assert.equal(a?.description?.hostname, "old");
    assert.equal(taken[0]?.reports.length, 2);
  });

  it("lets a report that came during a failing delivery win", async () => {
    let fail: (error: Error) => void = () => {};
    answer = new Promise((_, reject) => {
      fail = reject;
    });
    batch.add(report("a", { address: "old" }));
    await settled();
    await clock.advance(100);
    batch.add(report("a", { address: "new" }));
    answer = Promise.resolve();
    fail(new Error("lost"));
    await settled();
    await clock.advance(200);
    assert.deepEqual(
      taken.map(({ reports }) => reports.map(({ address }) => address)),
      [["new"]],
    );
  });

  it("does not repeat signs of life that were not taken: they are old by then", async () => {
    refusal = new Error("no leader");
    batch.alive("a");
    await clock.advance(1000);
    refusal = undefined;
    await clock.advance(5000);
    assert.deepEqual(seen(), []);
  });

  it("pauses between failing deliveries", async () => {
    let tries = 0;
    refusal = new Error("no leader");
    Object.defineProperty(refusal, "message", { get: () => `try ${++tries}` });
    batch.add(report("a"));
    await settled();
    await clock.advance(2000);
    assert.ok(tries >= 5 && tries <= 10, `${tries} tries in 2 s`);
  });

  it("ends while it waits", async () => {
    stop.abort();
    await run;
  });
});

describe("manager/dispatcher/report-batch mergeReports", () => {
  it("takes the newer report with what only the older one said", () => {
    const older = report("a", {
      state: "ready",
      address: "x",
      dataPathAddress: "y",
      description: description("h"),
    });
    const newer = report("a", { state: "down", message: "node left" });
    assert.deepEqual(mergeReports(older, newer), {
      ...newer,
      address: "x",
      dataPathAddress: "y",
      description: description("h"),
    });
  });

  it("prefers everything the newer one says", () => {
    const older = report("a", {
      address: "x",
      dataPathAddress: "y",
      description: description("h"),
    });
    const newer = report("a", {
      address: "1",
      dataPathAddress: "2",
      description: description("i"),
    });
    assert.deepEqual(mergeReports(older, newer), newer);
  });

  it("takes the only one there is", () => {
    const only = report("a");
    assert.equal(mergeReports(undefined, only), only);
    assert.equal(mergeReports(only, undefined), only);
    assert.throws(() => mergeReports(undefined, undefined), /needs a report/);
  });
});
