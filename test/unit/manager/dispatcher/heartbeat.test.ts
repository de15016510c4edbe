/**
 * Which nodes count as down, as a table.
 */
import assert from "node:assert/strict";
import { decideDown, type NodeLiveness } from "../../../../manager/dispatcher/heartbeat.ts";

describe("manager/dispatcher/heartbeat", () => {
  const period = 5000;
  const start = 1_000_000;
  const node: NodeLiveness = {
    nodeId: "n",
    state: "ready",
    lastSeenMs: undefined,
    knownSinceMs: start,
  };

  const cases: readonly (readonly [string, Partial<NodeLiveness>, number, boolean])[] = [
    ["keeps one seen just now", { lastSeenMs: start }, start, false],
    ["keeps one that missed less than three beats", { lastSeenMs: start }, start + 14_999, false],
    ["marks one that missed three", { lastSeenMs: start }, start + 15_000, true],
    ["waits six periods for the first sign of a node", {}, start + 29_999, false],
    ["marks one without any sign after that", {}, start + 30_000, true],
    ["gives a node that just joined the same time", { state: "unknown" }, start + 29_999, false],
    ["marks one that joined and never came", { state: "unknown" }, start + 30_000, true],
    ["marks a disconnected one", { state: "disconnected" }, start + 30_000, true],
    ["leaves those that are down already", { state: "down" }, start + 99_999, false],
    [
      "counts from the last sign, not from the first look",
      { lastSeenMs: start + 1 },
      start + 15_000,
      false,
    ],
  ];
  for (const [fact, fields, now, isDown] of cases) {
    it(fact, () => {
      const down = decideDown([{ ...node, ...fields }], { now, heartbeatPeriodMs: period });
      assert.deepEqual(down, isDown ? ["n"] : []);
    });
  }

  it("names every node that is due", () => {
    const nodes = ["a", "b", "c"].map((nodeId, i) => ({ ...node, nodeId, lastSeenMs: start + i }));
    const times = { now: start + 15_001, heartbeatPeriodMs: period };
    assert.deepEqual(decideDown(nodes, times), ["a", "b"]);
  });
});
