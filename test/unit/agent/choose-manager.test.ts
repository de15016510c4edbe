/**
 * Which manager an agent goes to, and how long it waits between two tries.
 */
import assert from "node:assert/strict";
import {
  chooseManager,
  heartbeatDelayMs,
  type ManagerChoice,
  retryDelayMs,
} from "../../../agent/choose-manager.ts";

const managers = ["a", "b", "c"].map((name) => ({ nodeId: name, address: `${name}:1` }));

describe("agent/choose-manager", () => {
  const chosen = (choice: Partial<ManagerChoice>) =>
    chooseManager({ managers, ownNodeId: "x", failed: new Set(), random: 0, ...choice })?.nodeId;

  const cases: readonly (readonly [string, Partial<ManagerChoice>, string | undefined])[] = [
    ["none when none is known", { managers: [] }, undefined],
    ["the first by the lowest draw", { random: 0 }, "a"],
    ["the last by the highest draw", { random: 1 - 2 ** -32 }, "c"],
    ["its own before all others", { ownNodeId: "b", random: 0 }, "b"],
    ["no manager that failed", { failed: new Set(["a:1"]), random: 0 }, "b"],
    ["another when its own failed", { ownNodeId: "a", failed: new Set(["a:1"]) }, "b"],
    ["any when all failed", { failed: new Set(["a:1", "b:1", "c:1"]), random: 0.5 }, "b"],
    [
      "by the draw when all failed, its own among them",
      { ownNodeId: "c", failed: new Set(["a:1", "b:1", "c:1"]), random: 0 },
      "a",
    ],
    ["one at its new address though the old one failed", { failed: new Set(["a:2"]) }, "a"],
  ];
  for (const [fact, choice, expected] of cases) {
    it(`chooses ${fact}`, () => assert.equal(chosen(choice), expected));
  }

  it("waits longer from failure to failure, 2 s at most", () => {
    const most = [0, 1, 2, 6, 7, 50, 10_000].map((failures) => retryDelayMs(failures, 1));
    assert.deepEqual(most, [100, 200, 400, 2000, 2000, 2000, 2000]);
    const least = [0, 1, 7].map((failures) => retryDelayMs(failures, 0));
    assert.deepEqual(least, [50, 100, 1000]);
  });

  it("beats within the last tenth of the period", () => {
    assert.equal(heartbeatDelayMs(5000, 0), 5000);
    assert.equal(heartbeatDelayMs(5000, 1), 4500);
  });
});
