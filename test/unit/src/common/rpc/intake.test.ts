/**
 * How many connections are begun at a time, and which are not begun at all.
 */
import { deepEqual, equal } from "node:assert/strict";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";
import { rpcIntakePerTurn, rpcIntakeWaitMsMax } from "../../../../../src/common/limits/limits.ts";
import { Intake } from "../../../../../src/common/rpc/intake.ts";

describe("src/common/rpc/intake", () => {
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  function intake() {
    const clock = new FakeClock();
    const taken: number[] = [];
    const dropped: number[] = [];
    const made = new Intake<number>({
      take: (connection) => taken.push(connection),
      drop: (connection) => dropped.push(connection),
      clock,
    });
    return { clock, taken, dropped, intake: made };
  }

  it("takes connections in their order, a few in a turn", async () => {
    const { intake: made, taken, dropped } = intake();
    const all = Array.from({ length: 3 * rpcIntakePerTurn + 1 }, (_, i) => i);
    for (const connection of all) made.add(connection);
    equal(taken.length, 0);
    for (const turns of [1, 2, 3]) {
      await turn();
      equal(taken.length, turns * rpcIntakePerTurn);
    }
    await turn();
    deepEqual([taken, dropped, made.count], [all, [], 0]);
    made.add(100);
    await turn();
    equal(taken.at(-1), 100);
  });

  it("drops those that have waited for too long, and takes the others at once", async () => {
    const { clock, intake: made, taken, dropped } = intake();
    for (const connection of [1, 2, 3, 4, 5, 6]) made.add(connection);
    const advancing = clock.advance(rpcIntakeWaitMsMax + 1);
    made.add(7);
    await advancing;
    await turn();
    deepEqual([taken, dropped], [[7], [1, 2, 3, 4, 5, 6]]);
  });

  it("drops all that wait when it is closed", async () => {
    const { intake: made, taken, dropped } = intake();
    for (const connection of [1, 2]) made.add(connection);
    made.close();
    await turn();
    deepEqual([taken, dropped], [[], [1, 2]]);
  });
});
