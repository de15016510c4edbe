/** Facts about what the worker posts: what may wait goes with the next message, and the order stays. */
import assert from "node:assert/strict";
import { Outbox } from "../../../../manager/raft/outbox.ts";

describe("manager/raft/outbox", () => {
  it("posts what waited first, with the memory that goes along", () => {
    const posted: unknown[] = [];
    const outbox = new Outbox((message, transfer) => posted.push([message.type, transfer]));
    const memory = new ArrayBuffer(1);
    outbox.postLater({ type: "ping" }, [memory]);
    outbox.postLater({ type: "removed" });
    assert.deepEqual(posted, []);
    outbox.post({ type: "read-point", id: 1, index: 2 });
    assert.deepEqual(posted, [
      ["ping", [memory]],
      ["removed", undefined],
      ["read-point", undefined],
    ]);
  });
});
