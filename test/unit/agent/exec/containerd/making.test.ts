/**
 * That containers are not made far ahead of their starts, and that starts never wait for them.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { Making } from "../../../../../agent/exec/containerd/making.ts";

const never = new AbortController().signal;

/** A start that is under way until it is told to end. */
function startOf(making: Making): { end: () => Promise<void> } {
  let end = () => {};
  const done = making.start(
    () =>
      new Promise<void>((resolve) => {
        end = resolve;
      }),
  );
  return {
    end: () => {
      end();
      return done;
    },
  };
}

describe("agent/exec/containerd/making", () => {
  it("lets containers be made while few starts are under way", async () => {
    const making = new Making(2);
    startOf(making);
    await making.mayMake(never);
  });

  it("lets one more be made with each start that is done, in the order they asked", async () => {
    const making = new Making(2);
    const starts = [startOf(making), startOf(making)];
    const made: string[] = [];
    const all = ["a", "b"].map((name) => making.mayMake(never).then(() => made.push(name)));
    await Promise.resolve();
    deepEqual(made, []);
    await starts[0]?.end();
    await all[0];
    deepEqual(made, ["a"]);
    await starts[1]?.end();
    await Promise.all(all);
    deepEqual(made, ["a", "b"]);
  });

  it("counts a start that failed as done", async () => {
    const making = new Making(1);
    const start = making.start(() => Promise.reject(new Error("no")));
    const made = making.mayMake(never);
    await rejects(start, /no/);
    await made;
  });

  it("forgets who does not wait any more", async () => {
    const making = new Making(1);
    const start = startOf(making);
    const over = new AbortController();
    const first = making.mayMake(over.signal);
    const second = making.mayMake(never).then(() => "second");
    over.abort(new Error("over"));
    await rejects(first, /over/);
    await start.end();
    equal(await second, "second");
    await rejects(making.mayMake(over.signal), /over/);
  });
});
