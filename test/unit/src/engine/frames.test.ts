/**
 * Tests of frames, detach keys and times of logs.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import {
  DetachScanner,
  detachKeys,
  frame,
  logTime,
  nanosecondsFrom,
} from "../../../../src/engine/frames.ts";

describe("src/engine/frames", () => {
  it("puts stream and length before the bytes", () => {
    deepEqual([...frame("stderr", Uint8Array.of(65, 66))], [2, 0, 0, 0, 0, 0, 0, 2, 65, 66]);
    equal(frame("stdout", new Uint8Array(0x012345)).length, 8 + 0x012345);
    deepEqual(
      [...frame("stdout", new Uint8Array(0x012345))].slice(0, 8),
      [1, 0, 0, 0, 0, 1, 35, 69],
    );
  });

  it("reads detach keys", () => {
    deepEqual([...detachKeys("")], [16, 17]);
    deepEqual([...detachKeys("ctrl-a,x,ctrl-@,ctrl-\\")], [1, 120, 0, 28]);
    throws(() => detachKeys("ctrl-1"), /Invalid detach keys \(ctrl-1\) provided/);
    throws(() => detachKeys("ab"), { code: "invalid-argument" });
  });

  it("finds the keys, also in pieces, and lets everything else through", () => {
    const cases: readonly (readonly [readonly number[][], readonly number[], boolean])[] = [
      [[[1, 2, 3]], [1, 2, 3], false],
      [[[1, 16, 17, 5]], [1], true],
      [[[16], [17]], [], true],
      [[[16], [5]], [16, 5], false],
      [[[16, 16, 17]], [16], true],
      [[[16], [16], [5]], [16, 16, 5], false],
    ];
    for (const [pieces, passed, detached] of cases) {
      const scanner = new DetachScanner(detachKeys(""));
      const results = pieces.map((piece) => scanner.feed(Uint8Array.from(piece)));
      deepEqual(
        results.flatMap(({ pass }) => [...pass]),
        passed,
      );
      equal(results.at(-1)?.detached, detached);
    }
  });

  it("writes times with nine digits and reads what clients send", () => {
    equal(logTime(1_700_000_000_000_000_042n), "2023-11-14T22:13:20.000000042Z");
    equal(nanosecondsFrom("since", "1700000000.5"), 1_700_000_000_500_000_000n);
    equal(nanosecondsFrom("since", "1700000000.000000042"), 1_700_000_000_000_000_042n);
    equal(nanosecondsFrom("since", "2023-11-14T22:13:20Z"), 1_700_000_000_000_000_000n);
    equal(nanosecondsFrom("since", ""), undefined);
    throws(() => nanosecondsFrom("until", "soon"), /invalid value for until: soon/);
  });
});
