/**
 * Which old tasks go, from pictures of places.
 */
import assert from "node:assert/strict";
import {
  chooseOld,
  historyLimit,
  isRemovable,
} from "../../../../../manager/orchestrator/reaper/choose.ts";
import type { TaskState } from "../../../../../src/common/api/generated/api.ts";
import { task } from "../../../../support/store-objects.ts";

/** Oldest first: `d` dead, `p` shut down before any agent had it, `s` being shut down, `r` running, `h` held back. */
const kinds: Readonly<Record<string, readonly [state: TaskState, desired: TaskState]>> = {
  d: ["failed", "shutdown"],
  p: ["pending", "shutdown"],
  s: ["running", "shutdown"],
  r: ["running", "running"],
  h: ["failed", "ready"],
};

function chosen(picture: string, limit: number): string {
  const tasks = [...picture].map((letter, i) => {
    const [state, desired] = kinds[letter] ?? ["new", "running"];
    return task({ id: String(i), state, desired });
  });
  return chooseOld(tasks, limit)
    .map(({ id }) => id)
    .join("");
}

describe("manager/orchestrator/reaper/choose", () => {
  for (const [picture, limit, expected] of [
    ["ddddr", 5, ""],
    ["dddddr", 5, "0"],
    ["ddddddddr", 3, "012345"],
    ["dr", 0, "0"],
    ["r", 0, ""],
    ["dsdr", 2, "02"],
    ["sssr", 1, ""],
    ["pdr", 1, "01"],
    ["dddh", 2, "01"],
  ] as const) {
    it(`keeps ${limit} of ${picture}, oldest first, never what may run`, () => {
      assert.equal(chosen(picture, limit), expected);
    });
  }

  it("keeps one more than the attempts that are counted, and everything below 0", () => {
    assert.equal(historyLimit(5, undefined), 5);
    assert.equal(historyLimit(5, 0), 5);
    assert.equal(historyLimit(5, 9), 10);
    assert.equal(historyLimit(-1, 9), undefined);
  });

  it("deletes what was removed once it has ended, or was never given to an agent", () => {
    const removable = (state: TaskState, desired: TaskState) =>
      isRemovable(task({ id: "t", state, desired }));
    assert.equal(removable("running", "remove"), false);
    assert.equal(removable("assigned", "remove"), false);
    assert.equal(removable("pending", "remove"), true);
    assert.equal(removable("shutdown", "remove"), true);
    assert.equal(removable("orphaned", "remove"), true);
    assert.equal(removable("failed", "shutdown"), false);
  });
});
