/**
 * The life of a leader's loop: when it looks, works, tries again, and ends.
 */
import assert from "node:assert/strict";
import type { Change } from "../../../../manager/state/change.ts";
import { type Follower, follow, Waiting } from "../../../../manager/state/follow.ts";
import type { Store } from "../../../../manager/state/store.ts";
import type { TableKey } from "../../../../manager/state/tables.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { localStore } from "../../../support/local-log.ts";
import { settled } from "../../../support/message-queue.ts";
import { config, network } from "../../../support/store-objects.ts";

class Probe implements Follower {
  readonly component = "probe";
  looks = 0;
  seen: string[] = [];
  works = 0;
  failure: Error | undefined;
  bug: Error | undefined;
  pauseMs = Number.POSITIVE_INFINITY;
  concerns: (change: Change) => boolean = () => true;

  lookAtAll(): void {
    this.looks += 1;
  }

  changed(change: Change): void {
    if (this.bug !== undefined) throw this.bug;
    this.seen.push(`${change.kind} ${change.object.id}`);
  }

  async work(): Promise<number> {
    this.works += 1;
    if (this.failure !== undefined) throw this.failure;
    return this.pauseMs;
  }
}

describe("manager/state/follow", () => {
  let clock: FakeClock;
  let store: Store;
  let probe: Probe;
  let stop: AbortController;
  let run: Promise<void>;

  beforeEach(() => {
    clock = new FakeClock();
    ({ store } = localStore({ clock }));
    probe = new Probe();
    stop = new AbortController();
  });
  afterEach(async () => {
    stop.abort();
    await run.catch(() => {
      // What a test made it fail with has been looked at.
    });
  });

  async function begin(without?: ReadonlySet<TableKey>): Promise<void> {
    const tools = { clock, log: silentLog, signal: stop.signal };
    run = follow(store, probe, without === undefined ? tools : { ...tools, without });
    await pass(0);
  }

  const make = (id: string) => store.update((tx) => tx.create("config", config(id)));

  async function pass(ms: number): Promise<void> {
    await clock.advance(ms);
    for (let turn = 0; turn < 4; turn++) await settled();
  }

  it("looks at everything first, then works", async () => {
    await begin();
    assert.deepEqual([probe.looks, probe.works], [1, 1]);
  });

  it("works off what was changed, that of one moment together", async () => {
    await begin();
    await make("a");
    await make("b");
    await pass(5);
    assert.deepEqual(probe.seen, ["create a", "create b"]);
    assert.equal(probe.works, 2);
  });

  it("is not woken by tables it does not look at", async () => {
    await begin(new Set<TableKey>(["config"]));
    await make("a");
    await pass(5);
    assert.deepEqual([probe.seen, probe.works], [[], 1]);
    await store.update((tx) => {
      tx.create("config", config("b"));
      tx.create("network", network("n"));
    });
    await pass(0);
    await pass(5);
    assert.deepEqual([probe.seen, probe.works], [["create n"], 2]);
  });

  it("is not woken by changes that do not concern it", async () => {
    probe.concerns = (change) => change.object.id !== "a";
    await begin();
    await make("a");
    await pass(1_000);
    assert.deepEqual([probe.works, probe.seen], [1, []]);
    await make("b");
    await pass(1_000);
    assert.deepEqual([probe.works, probe.seen], [2, ["create b"]]);
  });

  it("works again when something is due", async () => {
    probe.pauseMs = 100;
    await begin();
    await pass(99);
    assert.equal(probe.works, 1);
    await pass(1);
    assert.equal(probe.works, 2);
  });

  it("looks at everything again when changes were lost", async () => {
    await begin();
    const frozen = store.freeze();
    await store.restore(store.snapshot(frozen), frozen.index, frozen.term);
    await pass(0);
    await pass(5);
    assert.deepEqual([probe.looks, probe.works], [2, 2]);
  });

  it("tries again after a pause what failed", async () => {
    probe.failure = new Error("no leader");
    await begin();
    await pass(249);
    assert.equal(probe.works, 1);
    probe.failure = undefined;
    await pass(1);
    assert.equal(probe.works, 2);
  });

  it("ends with a bug in taking note, rather than go on blindly", async () => {
    await begin();
    probe.bug = new Error("bug");
    await make("a");
    await assert.rejects(run, /bug/);
  });

  it("ends while it waits", async () => {
    await begin();
    stop.abort();
    await run;
  });

  it("keeps what could not be worked off, but not in place of what is newer", async () => {
    const waiting = new Waiting<number>();
    waiting.add("a", 1);
    waiting.add("b", 2);
    const failing = waiting.drain(async () => {
      waiting.add("a", 3);
      throw new Error("no leader");
    });
    await assert.rejects(failing, /no leader/);
    const left: number[] = [];
    await waiting.drain(async (items) => {
      left.push(...items);
    });
    assert.deepEqual(left.sort(), [2, 3]);
    assert.equal(waiting.size, 0);
  });
});
