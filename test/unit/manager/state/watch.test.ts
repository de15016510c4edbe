/**
 * Watching: selection, order, overflow, resuming, closing.
 */
import assert from "node:assert/strict";
import { newChange } from "../../../../manager/state/change.ts";
import { type Selector, Watchers, type WatchItem } from "../../../../manager/state/watch.ts";
import { historyCommitsMax } from "../../../../src/common/limits/store.ts";
import { settled } from "../../../support/message-queue.ts";
import { config, task } from "../../../support/store-objects.ts";

function publish(watchers: Watchers, index: number, ...changes: ReturnType<typeof newChange>[]) {
  watchers.publish({ index, changes });
}

function taskChange(id: string, nodeId: string, oldNodeId?: string) {
  const old = oldNodeId === undefined ? undefined : task({ id, nodeId: oldNodeId });
  const kind = old === undefined ? "create" : "update";
  return newChange(kind, "task", task({ id, nodeId }), old);
}

function text(item: WatchItem | undefined): string {
  if (item === undefined) return "closed";
  if (item.resync) return `resync at ${item.index}`;
  return `${item.index}: ${item.changes.map((c) => `${c.kind} ${c.object.id}`).join(", ")}`;
}

const taskA = taskChange("a", "n1");
const taskB = taskChange("b", "n2");
const moved = taskChange("a", "n2", "n1");
const configC = newChange("create", "config", config("c"), undefined);

const selections: readonly (readonly [string, Selector, readonly string[]])[] = [
  ["everything", {}, ["1: create a, create c", "2: create b", "3: update a"]],
  ["a table", { table: "task" }, ["1: create a", "2: create b", "3: update a"]],
  [
    "an index key, of objects that come and go",
    { table: "task", index: ["node", "n1"] },
    ["1: create a", "3: update a"],
  ],
  [
    "everything but some tables",
    { without: new Set(["config"] as const) },
    ["1: create a", "2: create b", "3: update a"],
  ],
  [
    "what is left without a table that most changes are in",
    { without: new Set(["task"] as const) },
    ["1: create c"],
  ],
  ["the other key", { table: "task", index: ["node", "n2"] }, ["2: create b", "3: update a"]],
];

describe("manager/state/watch", () => {
  for (const [what, selector, expected] of selections) {
    it(`gives the changes of ${what}, live and resumed alike`, async () => {
      const watchers = new Watchers();
      const live = watchers.add(selector);
      publish(watchers, 1, taskA, configC);
      publish(watchers, 2, taskB);
      publish(watchers, 3, moved);
      const resumed = watchers.add(selector, { fromIndex: 0 });
      for (const watch of [live, resumed]) {
        for (const item of expected) assert.equal(text(await watch.next()), item);
        watch.close();
        assert.equal(await watch.next(), undefined);
      }
    });
  }

  it("does not wake a reader for a table it does without", async () => {
    const watchers = new Watchers();
    const watch = watchers.add({ without: new Set(["config"] as const) });
    let isWoken = false;
    const next = watch.next().then((item) => {
      isWoken = true;
      return text(item);
    });
    publish(watchers, 1, configC);
    await settled();
    assert.equal(isWoken, false);
    watchers.reset(2);
    assert.equal(await next, "resync at 2");
    watch.close();
  });

  it("goes on with one of two readers that do without the same", async () => {
    const watchers = new Watchers();
    const without = new Set(["config"] as const);
    const [left, stays] = [watchers.add({ without }), watchers.add({ without })];
    left.close();
    publish(watchers, 1, taskA);
    assert.equal(text(await stays.next()), "1: create a");
    stays.close();
  });

  it("resumes after an index", async () => {
    const watchers = new Watchers();
    publish(watchers, 1, taskA);
    publish(watchers, 2, taskB);
    const watch = watchers.add({}, { fromIndex: 1 });
    publish(watchers, 5, moved);
    assert.equal(text(await watch.next()), "2: create b");
    assert.equal(text(await watch.next()), "5: update a");
  });

  it("asks to read again when the history does not reach so far", async () => {
    const watchers = new Watchers();
    for (let index = 1; index <= historyCommitsMax + 10; index++) publish(watchers, index, taskA);
    assert.equal(text(await watchers.add({}, { fromIndex: 9 }).next()), "resync at 10010");
    const inTime = watchers.add({}, { fromIndex: 10 });
    assert.equal(text(await inTime.next()), "11: create a");
  });

  it("bounds the history by changes as well", async () => {
    const watchers = new Watchers();
    const many = Array<typeof taskA>(200).fill(taskA);
    for (let index = 1; index <= 300; index++) publish(watchers, index, ...many);
    assert.equal(text(await watchers.add({}, { fromIndex: 49 }).next()), "resync at 300");
    const item = await watchers.add({}, { fromIndex: 50 }).next();
    assert.equal(item?.index, 51);
  });

  it("drops the buffer of a watcher that lags and says so once", async () => {
    const watchers = new Watchers();
    const watch = watchers.add({ table: "task" }, { bufferMax: 2 });
    for (let index = 1; index <= 4; index++) publish(watchers, index, taskA);
    assert.equal(text(await watch.next()), "resync at 4");
    publish(watchers, 5, taskB);
    assert.equal(text(await watch.next()), "5: create b");
  });

  it("tells everybody to read again after the state was replaced", async () => {
    const watchers = new Watchers();
    const all: Selector[] = [{}, { table: "task" }, { table: "task", index: ["node", "n1"] }];
    const watches = all.map((selector) => watchers.add(selector));
    publish(watchers, 1, taskA);
    watchers.reset(40);
    for (const watch of watches) assert.equal(text(await watch.next()), "resync at 40");
    assert.equal(text(await watchers.add({}, { fromIndex: 39 }).next()), "resync at 40");
  });

  it("wakes a waiting reader, and ends it on close and on the signal", async () => {
    const watchers = new Watchers();
    const watch = watchers.add();
    const first = watch.next();
    publish(watchers, 1, taskA);
    assert.equal(text(await first), "1: create a");
    const second = watch.next();
    watch.close();
    assert.equal(await second, undefined);
    const controller = new AbortController();
    const third = watchers.add({}, { signal: controller.signal }).next();
    controller.abort();
    assert.equal(await third, undefined);
  });

  it("closes when its reader leaves the loop", async () => {
    const watchers = new Watchers();
    const watch = watchers.add();
    publish(watchers, 1, taskA);
    for await (const item of watch) {
      assert.equal(item.index, 1);
      break;
    }
    assert.equal(await watch.next(), undefined);
  });

  it("knows only declared indexes", () => {
    const watchers = new Watchers();
    assert.throws(() => watchers.add({ table: "task", index: ["size", "x"] }), /has no index size/);
  });

  it("sends nothing for entries without changes", async () => {
    const watchers = new Watchers();
    const watch = watchers.add();
    publish(watchers, 1);
    publish(watchers, 2, taskA);
    assert.equal(text(await watch.next()), "2: create a");
  });
});
