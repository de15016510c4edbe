/**
 * Waits that are joined, and those that must not be.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { SharedWait } from "../../../../manager/dispatcher/shared-wait.ts";

describe("manager/dispatcher/shared-wait", () => {
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  function shared() {
    const begun: PromiseWithResolversOf[] = [];
    const wait = new SharedWait(
      () => new Promise<void>((resolve, reject) => begun.push({ resolve, reject })),
    );
    return { begun, wait };
  }

  it("begins once for all who ask at the same time", async () => {
    const { begun, wait } = shared();
    const waiting = Promise.all([wait.wait(), wait.wait(), wait.wait()]);
    await turn();
    equal(begun.length, 1);
    begun[0]?.resolve();
    await waiting;
  });

  it("begins again for those who ask while one is under way, once for all of them", async () => {
    const { begun, wait } = shared();
    const over: string[] = [];
    void wait.wait().then(() => over.push("first"));
    await turn();
    void wait.wait().then(() => over.push("second"));
    void wait.wait().then(() => over.push("third"));
    await turn();
    equal(begun.length, 1);
    begun[0]?.resolve();
    await turn();
    deepEqual([over, begun.length], [["first"], 2]);
    begun[1]?.resolve();
    await turn();
    deepEqual(over, ["first", "second", "third"]);
  });

  it("tells all who wait of a failure, and begins anew after it", async () => {
    const { begun, wait } = shared();
    const failing = [wait.wait(), wait.wait()];
    await turn();
    const after = wait.wait();
    begun[0]?.reject(new Error("no leader"));
    for (const one of failing) await rejects(one, /no leader/);
    await turn();
    equal(begun.length, 2);
    begun[1]?.resolve();
    await after;
  });
});

interface PromiseWithResolversOf {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}
