/**
 * When a container is started again, and after which pause.
 */
import { equal } from "node:assert/strict";
import {
  type Ended,
  restartPause,
  startsWithDaemon,
} from "../../../../../agent/exec/containerd/restart-policy.ts";

const ended = (fields: Partial<Ended>): Ended => ({
  policy: { name: "always", retriesMax: 0 },
  exitCode: 1,
  stopped: false,
  restartCount: 0,
  ranMs: 50,
  lastPauseMs: 0,
  ...fields,
});
const onFailure = { name: "on-failure", retriesMax: 3 } as const;
const unlessStopped = { name: "unless-stopped", retriesMax: 0 } as const;

describe("agent/exec/containerd/restart-policy", () => {
  const cases: readonly [string, Partial<Ended>, number | undefined][] = [
    ["leaves one without a policy", { policy: { name: "no", retriesMax: 0 } }, undefined],
    ["starts again after a tenth of a second", {}, 100],
    ["doubles the pause", { lastPauseMs: 100 }, 200],
    ["pauses a minute at most", { lastPauseMs: 40_000 }, 60_000],
    ["begins anew with one that had recovered", { lastPauseMs: 40_000, ranMs: 10_000 }, 100],
    ["leaves one that a user stopped", { stopped: true }, undefined],
    ["takes a good end for none with on-failure", { policy: onFailure, exitCode: 0 }, undefined],
    ["tries on-failure again", { policy: onFailure, restartCount: 2 }, 100],
    ["gives on-failure up", { policy: onFailure, restartCount: 3 }, undefined],
    ["starts unless-stopped again", { policy: unlessStopped, exitCode: 0 }, 100],
  ];
  for (const [fact, fields, pause] of cases) {
    it(fact, () => equal(restartPause(ended(fields)), pause));
  }

  it("starts always with the daemon, even what was stopped, and unless-stopped only what was not", () => {
    const last = { stopped: true, exitCode: 0, restartCount: 0 };
    equal(startsWithDaemon({ name: "always", retriesMax: 0 }, last), true);
    equal(startsWithDaemon(unlessStopped, last), false);
    equal(startsWithDaemon(unlessStopped, { ...last, stopped: false }), true);
    equal(startsWithDaemon({ name: "no", retriesMax: 0 }, { ...last, stopped: false }), false);
  });
});
