/**
 * Logs of several tasks in the order of time, with logs that are slow, quiet, late, or far ahead.
 */
import assert from "node:assert/strict";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { logReorderRecordsMax } from "../../../../src/common/limits/tunnel.ts";
import { LogMerge, type Timed } from "../../../../src/engine/log-merge.ts";
import { MessageQueue, settled } from "../../../support/message-queue.ts";

interface Line extends Timed {
  readonly text: string;
}

function line(time: number, text = String(time)): Line {
  return { time: String(time).padStart(9, "0"), text, data: Buffer.from(text) };
}

describe("src/engine/log-merge", () => {
  const clock = new FakeClock();
  let stop: AbortController;
  let said: string[];
  let reading: Promise<void>;
  beforeEach(() => {
    stop = new AbortController();
    said = [];
  });
  afterEach(async () => {
    stop.abort();
    await reading;
  });

  function merge(holdMs: number | undefined): LogMerge<Line> {
    return new LogMerge<Line>({ holdMs, clock, signal: stop.signal });
  }
  function read(from: LogMerge<Line>): void {
    reading = (async () => {
      for await (const { text } of from.records()) said.push(text);
      said.push("end");
    })();
  }
  async function* given(...times: number[]): AsyncGenerator<Line> {
    for (const time of times) yield line(time);
  }

  it("merges finished logs exactly, however slowly one comes", async () => {
    const slow = new MessageQueue<Line>();
    const merged = merge(undefined);
    merged.add(given(1, 4, 7));
    merged.add(given(2, 3, 9));
    merged.add(slow);
    merged.complete();
    read(merged);
    await clock.advance(60_000);
    assert.deepEqual(said, []);
    slow.push(line(5));
    await settled();
    await settled();
    assert.deepEqual(said, ["1", "2", "3", "4", "5"]);
    slow.end();
    await reading;
    assert.deepEqual(said, ["1", "2", "3", "4", "5", "7", "9", "end"]);
  });

  it("does not wait for ever when a record has waited long enough just after it was looked at", async () => {
    let askedMs = 0;
    const ticking = {
      now: () => clock.now(),
      monotonic: () => {
        askedMs += 6;
        return askedMs;
      },
      sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
    };
    const merged = new LogMerge<Line>({ holdMs: 10, clock: ticking, signal: stop.signal });
    merged.add(new MessageQueue<Line>());
    merged.add(given(1));
    read(merged);
    await settled();
    await clock.advance(1_000);
    await settled();
    assert.deepEqual(said, ["1"]);
  });

  it("ends when there is no log at all", async () => {
    const merged = merge(undefined);
    merged.complete();
    read(merged);
    await reading;
    assert.deepEqual(said, ["end"]);
  });

  it("takes a log that fails as one that has ended", async () => {
    const merged = merge(undefined);
    merged.add(given(1));
    merged.add(
      (async function* () {
        yield line(2);
        throw new Error("broken");
      })(),
    );
    merged.complete();
    read(merged);
    await reading;
    assert.deepEqual(said, ["1", "2", "end"]);
  });

  it("holds a followed record back for older ones, and no longer", async () => {
    const a = new MessageQueue<Line>();
    const b = new MessageQueue<Line>();
    const merged = merge(200);
    merged.add(a);
    merged.add(b);
    read(merged);
    a.push(line(10));
    await settled();
    await clock.advance(199);
    assert.deepEqual(said, []);
    b.push(line(9));
    await clock.advance(0);
    assert.deepEqual(said, ["9"]);
    await clock.advance(200);
    assert.deepEqual(said, ["9", "10"]);
  });

  it("lets many records of one log wait together, not one after the other", async () => {
    const a = new MessageQueue<Line>();
    const merged = merge(200);
    merged.add(a);
    merged.add(new MessageQueue<Line>());
    read(merged);
    for (let time = 0; time < 50; time++) a.push(line(time));
    await settled();
    await clock.advance(200);
    await settled();
    assert.equal(said.length, 50);
  });

  it("reads no further ahead than it must", async () => {
    let read = 0;
    const merged = merge(200);
    merged.add(
      (async function* () {
        for (let time = 0; ; time++) {
          read++;
          yield line(time);
        }
      })(),
    );
    merged.add(new MessageQueue<Line>());
    const records = merged.records();
    const first = records.next();
    await settled();
    await clock.advance(200);
    await first;
    await settled();
    assert(read <= logReorderRecordsMax + 2, `${read} records`);
    stop.abort();
    await records.return();
    reading = Promise.resolve();
  });

  it("waits for a log that is just being opened, and for its failure", async () => {
    const late = new MessageQueue<Line>();
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const merged = merge(200);
    merged.add(given(5));
    merged.add(late, opened);
    read(merged);
    await settled();
    await clock.advance(1_000);
    assert.deepEqual(said, []);
    open();
    await settled();
    late.push(line(4));
    await settled();
    await clock.advance(200);
    assert.deepEqual(said, ["4", "5"]);
  });

  it("takes logs that are added while it is read", async () => {
    const merged = merge(200);
    read(merged);
    await settled();
    merged.add(given(1));
    await settled();
    await settled();
    assert.deepEqual(said, ["1"]);
  });

  it("ends with the signal while it waits", async () => {
    const merged = merge(200);
    merged.add(new MessageQueue<Line>());
    read(merged);
    await settled();
    stop.abort();
    await reading;
    assert.deepEqual(said, ["end"]);
  });
});
