/**
 * The way of statuses to the leader: together, the newest of each task, until they are taken.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { StatusBatch } from "../../../../manager/dispatcher/status-batch.ts";
import {
  ObservedStatus,
  type RelayedStatus,
  TaskStatus,
  TaskStatusReport,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import {
  statusBatchBytesMax,
  statusBatchMax,
  taskStatusBytesMax,
} from "../../../../src/common/limits/agent.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { settled } from "../../../support/message-queue.ts";

describe("manager/dispatcher/status-batch", () => {
  let clock: FakeClock;
  let batch: StatusBatch;
  let stop: AbortController;
  let run: Promise<void>;
  let delivered: (readonly RelayedStatus[])[];
  let answer: { resolve: () => void; reject: (error: Error) => void };

  beforeEach(() => {
    [clock, stop, delivered] = [new FakeClock(), new AbortController(), []];
    batch = new StatusBatch(
      (statuses) => {
        delivered.push(statuses);
        return new Promise((resolve, reject) => {
          answer = { resolve, reject };
        });
      },
      { clock, log: silentLog },
    );
    run = batch.run(stop.signal);
  });
  afterEach(async () => {
    stop.abort();
    answer?.resolve();
    await run;
  });

  function add(nodeId: string, ...lines: readonly string[]): Promise<void> {
    const statuses = lines.map((line) => {
      const [taskId = "", message = ""] = line.split(" ");
      return ObservedStatus.create({ taskId, status: TaskStatus.create({ message }) });
    });
    return batch.add(nodeId, TaskStatusReport.create({ number: 1, statuses }));
  }

  const lines = (at: number) =>
    delivered[at]?.map(({ nodeId, taskId, status }) => `${nodeId} ${taskId} ${status?.message}`);

  it("takes together what comes within a moment, the newest of each task", async () => {
    void add("n", "a 1", "b 1");
    await settled();
    await clock.advance(5);
    void add("m", "c 1");
    void add("n", "a 2");
    await clock.advance(5);
    deepEqual(lines(0), ["n a 2", "n b 1", "m c 1"]);
  });

  it("fills the next batch while one is on its way, and says when each is taken", async () => {
    const taken: string[] = [];
    add("n", "a 1").then(() => taken.push("first"));
    await settled();
    await clock.advance(10);
    add("n", "b 1").then(() => taken.push("second"));
    await clock.advance(1000);
    equal(delivered.length, 1);
    deepEqual(taken, []);
    answer.resolve();
    await settled();
    await clock.advance(10);
    deepEqual(taken, ["first"]);
    deepEqual(lines(1), ["n b 1"]);
    answer.resolve();
    await settled();
    deepEqual(taken, ["first", "second"]);
  });

  it("offers a batch again until the leader has it", async () => {
    let isTaken = false;
    add("n", "a 1").then(() => {
      isTaken = true;
    });
    await settled();
    await clock.advance(10);
    answer.reject(new Error("no leader"));
    await settled();
    await clock.advance(100);
    equal(delivered.length, 2);
    equal(isTaken, false);
    answer.resolve();
    await settled();
    equal(isTaken, true);
  });

  it("keeps the word of two nodes about one task apart: the leader knows whose it is", async () => {
    void add("n", "a 1");
    void add("m", "a 2");
    await settled();
    await clock.advance(10);
    deepEqual(lines(0), ["n a 1", "m a 2"]);
  });

  it("bounds a batch by number and by bytes", async () => {
    void add("n", ...Array.from({ length: statusBatchMax + 1 }, (_, i) => `t${i} x`));
    const long = "y".repeat(15_000);
    const fits = Math.floor(statusBatchBytesMax / (long.length + 50));
    void add("n", ...Array.from({ length: fits + 10 }, (_, i) => `u${i} ${long}`));
    await settled();
    await clock.advance(10);
    equal(delivered[0]?.length, statusBatchMax);
    answer.resolve();
    await settled();
    await clock.advance(10);
    ok((delivered[1]?.length ?? 0) < fits + 10);
    answer.resolve();
    await settled();
    await clock.advance(10);
    deepEqual((delivered[1]?.length ?? 0) + (delivered[2]?.length ?? 0), fits + 11);
  });

  it("refuses a status that is too large, so that it holds up no other", async () => {
    const taken = add("n", `a ${"y".repeat(taskStatusBytesMax)}`, "b 1");
    await settled();
    await clock.advance(10);
    deepEqual(lines(0), ["n b 1"]);
    answer.resolve();
    await taken;
  });
});
