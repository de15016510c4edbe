/** Readers that wait for an index to be applied. */
import assert from "node:assert/strict";
import { CommittedInbox } from "../../../../manager/raft/committed-inbox.ts";
import { ClusterError, hasCode } from "../../../../src/common/errors/cluster-error.ts";

describe("manager/raft/committed-inbox", () => {
  function inbox(): CommittedInbox {
    return new CommittedInbox({
      appliedIndex: 5,
      post: () => {},
      onApplied: () => {},
      onFailed: () => {},
    });
  }

  it("lets a reader go on at once whose index is applied", async () => {
    await inbox().reached(5, new AbortController().signal);
  });

  it("forgets a reader that has given up", async () => {
    const waited = inbox();
    const stop = new AbortController();
    const reached = waited.reached(6, stop.signal);
    const patient = waited.reached(7);
    patient.catch(() => {
      // Ends with the inbox, below.
    });
    assert.equal(waited.waiting, 2);
    stop.abort(new ClusterError("cancelled", "enough"));
    await assert.rejects(reached, (error) => hasCode(error, "cancelled"));
    assert.equal(waited.waiting, 1);
    await assert.rejects(waited.reached(6, stop.signal), (error) => hasCode(error, "cancelled"));
    assert.equal(waited.waiting, 1);
    waited.end(new ClusterError("unavailable", "over"));
    await assert.rejects(patient, (error) => hasCode(error, "unavailable"));
  });
});
