/**
 * The pieces of the simulator beside its checks of Raft: order of events, replay, watchers, mutations.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { newChange } from "../../../../manager/state/change.ts";
import { itemsViolation } from "../../../sim/check/watching.ts";
import { runHistory } from "../../../sim/history.ts";
import { registerOf } from "../../../sim/main-side.ts";
import { edited, mutations } from "../../../sim/mutations.ts";
import { EventQueue } from "../../../sim/queue.ts";

describe("test/sim/queue", () => {
  it("takes events by time, and those of one time in the order they came", () => {
    const queue = new EventQueue();
    const seen: string[] = [];
    for (const [time, name] of [
      [5, "c"],
      [1, "a"],
      [5, "d"],
      [3, "b"],
      [5, "e"],
    ] as const) {
      queue.at(time, () => seen.push(name));
    }
    while (queue.step());
    assert.equal(seen.join(""), "abcde");
    assert.equal(queue.now, 5);
  });
});

describe("test/sim/history", () => {
  it("is the same for the same seed", async () => {
    const [first, second] = [await runHistory(11), await runHistory(11)];
    assert.equal(first.violation, undefined);
    assert.deepEqual(
      { ...first, faults: [...first.faults] },
      { ...second, faults: [...second.faults] },
    );
  }).timeout(60_000);
});

describe("test/sim/check/watching", () => {
  const change = (key: number) => newChange("create", "config", registerOf(key, key), undefined);
  const changes = new Map([
    [2, [change(2)]],
    [4, [change(4)]],
  ]);
  const item = (index: number) => ({ resync: false, index, changes: [change(index)] }) as const;

  it("takes a whole row", () => {
    assert.equal(itemsViolation([item(2), item(4)], changes, 5, 0), undefined);
  });

  it("finds what was left out, at the start, in the middle and at the end", () => {
    assert.match(itemsViolation([item(4)], changes, 5, 0) ?? "", /left out/);
    assert.match(itemsViolation([item(2)], changes, 5, 0) ?? "", /left out at the end/);
  });

  it("finds what came twice or out of order", () => {
    assert.match(itemsViolation([item(2), item(2)], changes, 5, 0) ?? "", /came after/);
    assert.match(itemsViolation([item(4), item(2)], changes, 5) ?? "", /came after/);
  });

  it("goes on from where a watcher was told to read again", () => {
    assert.equal(itemsViolation([{ resync: true, index: 3 }, item(4)], changes, 5, 0), undefined);
  });
});

describe("test/sim/mutations", () => {
  it("are numbered from 1 to 33", () => {
    assert.deepEqual(
      mutations.map(({ id }) => id),
      Array.from({ length: 33 }, (_, at) => at + 1),
    );
  });

  for (const { id, title, edits } of mutations) {
    it(`${id} finds what it changes: ${title}`, () => {
      for (const edit of edits) {
        const text = readFileSync(join("build", edit.file), "utf8");
        assert.notEqual(edited(text, edit), text);
      }
    });
  }
});
