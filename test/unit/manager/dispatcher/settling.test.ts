/**
 * When all nodes hold what the managers know.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { SettlePoint, Settling, sumOfAnswers } from "../../../../manager/dispatcher/settling.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { silentLog } from "../../../../src/common/log/log.ts";

describe("manager/dispatcher/settling", () => {
  describe("a session", () => {
    it("asks for the highest number once, and tells those the answer is enough for", async () => {
      const [asked, told]: [number[], string[]] = [[], []];
      const point = new SettlePoint((number) => asked.push(number));
      for (const number of [3, 3, 2, 5]) {
        void point.reaches(number).then((isSettled) => told.push(`${number} ${isSettled}`));
      }
      deepEqual(asked, [3, 5]);
      point.answered(4);
      equal(await point.reaches(1), true);
      deepEqual(told, ["3 true", "3 true", "2 true"]);
      point.end();
      equal(await point.reaches(1), false);
      deepEqual(told.at(-1), "5 false");
      deepEqual(asked, [3, 5]);
    });
  });

  describe("a manager", () => {
    const [clock, stop] = [new FakeClock(), new AbortController()];
    let state: { heard: number; here: number; elsewhere: number; ready: number };
    let asked: number[];
    let isDone: boolean;
    const settling = new Settling(
      {
        heardIndex: () => state.heard,
        settledHere: async () => state.here,
        settledElsewhere: async (index) => {
          asked.push(index);
          return state.elsewhere;
        },
        readyNodes: () => state.ready,
      },
      { clock, log: silentLog },
    );

    beforeEach(() => {
      [state, asked, isDone] = [{ heard: 7, here: 2, elsewhere: 1, ready: 3 }, [], false];
    });

    it("answers when all nodes that are up have said so", async () => {
      await settling.everywhere(stop.signal);
      deepEqual(asked, [7]);
    });

    it("waits for a node that is up and has no session", async () => {
      state.ready = 4;
      void settling.everywhere(stop.signal).then(() => {
        isDone = true;
      });
      await clock.advance(1000);
      equal(isDone, false);
      // What is committed meanwhile is another matter.
      [state.elsewhere, state.heard] = [2, 9];
      await clock.advance(100);
      equal(isDone, true);
      equal(asked.at(-1), 7);
    });

    it("that is behind waits until it has heard", async () => {
      let count: number | undefined;
      void settling.here(8, stop.signal).then((nodes) => {
        count = nodes;
      });
      await clock.advance(50);
      equal(count, undefined);
      state.heard = 8;
      await clock.advance(5);
      equal(count, 2);
    });

    it("gives up with its caller", async () => {
      const over = new AbortController();
      const answer = settling.here(99, over.signal);
      over.abort(new Error("gone"));
      await rejects(answer, /gone/);
    });
  });

  it("counts managers that do not answer for nothing", async () => {
    const never = new AbortController();
    const answers = [Promise.resolve(2), Promise.reject(new Error("away")), Promise.resolve(3)];
    equal(await sumOfAnswers(answers, { log: silentLog, signal: never.signal }), 5);
    never.abort(new Error("over"));
    const late = [Promise.reject(new Error("away"))];
    await rejects(sumOfAnswers(late, { log: silentLog, signal: never.signal }), /over/);
  });
});
