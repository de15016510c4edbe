/** Facts about what the worker posts: what may wait goes with the next message, and the order stays. */
import assert from "node:assert/strict";
import { Outbox } from "../../../../manager/raft/outbox.ts";

describe("manager/raft/outbox", () => {
  it("posts what waited and what could not wait in one, in order, with the memory that goes along", () => {
    const posted: unknown[] = [];
    const outbox = new Outbox((message, transfer) => posted.push([message, transfer]));
    const memory = [new ArrayBuffer(1), new ArrayBuffer(2)] as const;
    outbox.postLater({ type: "ping" }, [memory[0]]);
    outbox.postLater({ type: "removed" });
    assert.deepEqual(posted, []);
    outbox.post({ type: "read-point", id: 1, index: 2 }, [memory[1]]);
    const messages = [
      { type: "ping" },
      { type: "removed" },
      { type: "read-point", id: 1, index: 2 },
    ];
    assert.deepEqual(posted, [[{ type: "several", messages }, memory]]);
  });

  it("posts at once, as it is, what comes while nothing waits", () => {
    const posted: unknown[] = [];
    const outbox = new Outbox((message, transfer) => posted.push([message, transfer]));
    outbox.post({ type: "ping" });
    assert.deepEqual(posted, [[{ type: "ping" }, undefined]]);
  });
});
