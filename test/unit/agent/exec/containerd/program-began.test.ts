/**
 * When a signal reaches the program of a container; names of processes and time are the test's.
 */
import { equal } from "node:assert/strict";
import { programBegan } from "../../../../../agent/exec/containerd/program-began.ts";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";

describe("agent/exec/containerd/program-began", () => {
  it("waits until runc's own process has become the program, for a while", async () => {
    const clock = new FakeClock();
    for (const [name, isLeft] of [
      ["sleep\n", true],
      ["runc:[2:INIT]\n", false],
    ] as const) {
      let now = "runc:[2:INIT]\n";
      let isOver = false;
      const over = programBegan(7, { clock, nameOf: () => now }).then(() => {
        isOver = true;
      });
      await clock.advance(1_000);
      equal(isOver, false);
      now = name;
      await clock.advance(100);
      equal(isOver, isLeft);
      await clock.advance(10_000);
      await over;
    }
  });

  it("does not wait for others, nor for one that has ended", async () => {
    const clock = new FakeClock();
    await programBegan(7, { clock, nameOf: () => "sleep\n" });
    await programBegan(7, { clock, nameOf: () => "" });
    await programBegan(process.pid, { clock });
  });
});
