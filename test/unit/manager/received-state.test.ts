/**
 * A state received from another manager: success, failure while nothing has changed, and silence.
 */
import assert from "node:assert/strict";
import { takeReceivedState } from "../../../manager/received-state.ts";
import { FakeClock } from "../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../src/common/log/log.ts";
import { settled } from "../../support/message-queue.ts";

describe("manager/received-state", () => {
  let clock: FakeClock;
  let stop: AbortController;
  let writes: number;
  let outcome: string | undefined;
  beforeEach(() => {
    clock = new FakeClock();
    stop = new AbortController();
    writes = 0;
    outcome = undefined;
  });

  function take(o: { replace?: () => Promise<void>; failures?: number } = {}): void {
    takeReceivedState({
      index: 40,
      replace: o.replace ?? (() => Promise.resolve()),
      write: async () => {
        writes++;
        if (writes <= (o.failures ?? 0)) throw new ClusterError("internal", "could not sync");
      },
      clock,
      log: silentLog,
      signal: stop.signal,
    }).then(
      () => {
        outcome = "installed";
      },
      () => {
        outcome = "failed";
      },
    );
  }

  it("fails when the state could not be replaced", async () => {
    take({ replace: () => Promise.reject(new ClusterError("internal", "damaged")) });
    await settled();
    assert.deepEqual([outcome, writes], ["failed", 0]);
  });

  it("writes again until the state is durable", async () => {
    take({ failures: 2 });
    await settled();
    await clock.advance(1000);
    assert.equal(outcome, undefined);
    await clock.advance(1000);
    await settled();
    assert.deepEqual([outcome, writes], ["installed", 3]);
  });

  it("does not call it a failure when it stops after a write that failed", async () => {
    take({ failures: 1 });
    await settled();
    stop.abort(new ClusterError("unavailable", "stopping"));
    await settled();
    await clock.advance(5000);
    assert.deepEqual([outcome, writes], [undefined, 1]);
  });
});
