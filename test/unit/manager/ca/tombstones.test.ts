/** Facts about when removed nodes are forgotten. */
import assert from "node:assert/strict";
import {
  clockJumped,
  decideForget,
  forgetRemovedNodes,
} from "../../../../manager/ca/tombstones.ts";
import { Tombstone } from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";

const hour = 3_600_000;
const day = 24 * hour;
const removed = (id: string, expiresAtMs: number) =>
  Tombstone.create({ id: `node/${id}`, node: { nodeId: id, expiresAtMs } });

/** Wall time that can be set while time goes by. */
class JumpyClock extends FakeClock {
  shift = 0;
  override now(): number {
    return super.now() + this.shift;
  }
}

describe("manager/ca/tombstones", () => {
  it("forgets nodes a day after their certificate's end, and keeps those without one", () => {
    const list = [
      removed("old", 10 * day),
      removed("fresh", 11 * day),
      removed("endless", 0),
      Tombstone.create({ id: "number/3", number: { number: 3, freedAtMs: 1 } }),
    ];
    assert.deepEqual(decideForget(list, 11 * day), ["node/old"]);
    assert.deepEqual(decideForget(list, 11 * day - 1), []);
  });

  it("tells a clock that was set from one that goes", () => {
    assert.equal(clockJumped({ wall: 0, monotonic: 0 }, { wall: hour, monotonic: hour }), false);
    assert.equal(clockJumped({ wall: 0, monotonic: 0 }, { wall: 2 * hour, monotonic: hour }), true);
    assert.equal(clockJumped({ wall: 0, monotonic: 0 }, { wall: 0, monotonic: hour }), true);
  });

  it("deletes at the second look that finds them, and starts over after a jump of the clock", async () => {
    const clock = new JumpyClock();
    const table = new Map([["node/old", removed("old", clock.now() - 2 * day)]]);
    const stop = new AbortController();
    const store = {
      view: () => ({ list: () => table.values() }),
      update: async <R>(
        decide: (tx: {
          get(table: "tombstone", id: string): Tombstone | undefined;
          remove(table: "tombstone", id: string): void;
        }) => R,
      ) =>
        decide({
          get: (_, id) => table.get(id),
          remove: (_, id) => {
            table.delete(id);
          },
        }),
    };
    const run = forgetRemovedNodes(store, 3, { clock, log: silentLog, signal: stop.signal });
    await clock.advance(hour);
    assert.equal(table.size, 1);
    clock.shift = day;
    await clock.advance(hour);
    assert.equal(table.size, 1, "the clock had jumped");
    await clock.advance(hour);
    assert.equal(table.size, 1, "found once since then");
    await clock.advance(hour);
    assert.equal(table.size, 0);
    stop.abort();
    await run;
  });
});
