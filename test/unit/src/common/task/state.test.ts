/**
 * The order of the states a task goes through, and which of them are its end.
 */
import { deepEqual, equal } from "node:assert/strict";
import { TaskStateValues } from "../../../../../src/common/api/generated/api.ts";
import { isBefore, isTerminal, stateRank } from "../../../../../src/common/task/state.ts";

describe("src/common/task/state", () => {
  it("orders the states as Docker numbers them", () => {
    const sorted = [...TaskStateValues].sort((a, b) => stateRank(a) - stateRank(b));
    deepEqual(sorted.slice(0, 4), ["new", "pending", "assigned", "accepted"]);
    equal(isBefore("ready", "starting"), true);
    equal(isBefore("running", "running"), false);
  });

  it("calls a task ended from COMPLETE on", () => {
    deepEqual(TaskStateValues.filter(isTerminal), [
      "complete",
      "shutdown",
      "failed",
      "rejected",
      "remove",
      "orphaned",
    ]);
  });
});
