/**
 * How many things a gate lets be done at once, and in which order.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { Gate } from "../../../../../agent/exec/containerd/gate.ts";

const never = new AbortController().signal;

/** Work that ends when it is told to, and the names of what began. */
function works() {
  const began: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    began.push(name);
    return new Promise<void>((resolve) => {
      ends.set(name, resolve);
    });
  };
  return { began, work, end: (name: string) => ends.get(name)?.() };
}

describe("agent/exec/containerd/gate", () => {
  it("lets so many be done at once, the next in the order of the calls", async () => {
    const { began, work, end } = works();
    const gate = new Gate(2);
    const all = ["a", "b", "c", "d"].map((name) => gate.run(never, work(name)));
    deepEqual(began, ["a", "b"]);
    end("b");
    await all[1];
    deepEqual(began, ["a", "b", "c"]);
    end("a");
    end("c");
    await Promise.all([all[0], all[2]]);
    deepEqual(began, ["a", "b", "c", "d"]);
    end("d");
    await all[3];
  });

  it("gives the place of work that failed to the next", async () => {
    const gate = new Gate(1);
    await rejects(
      gate.run(never, () => Promise.reject(new Error("no"))),
      /no/,
    );
    equal(await gate.run(never, async () => "done"), "done");
  });

  it("passes over who does not wait any more", async () => {
    const { began, work, end } = works();
    const gate = new Gate(1);
    const stop = new AbortController();
    const first = gate.run(never, work("a"));
    const left = gate.run(stop.signal, work("b"));
    const last = gate.run(never, work("c"));
    stop.abort(new Error("enough"));
    await rejects(left, /enough/);
    await rejects(gate.run(stop.signal, work("d")), /enough/);
    end("a");
    await first;
    deepEqual(began, ["a", "c"]);
    end("c");
    await last;
  });
});
