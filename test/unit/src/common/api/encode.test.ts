/** Encoding: all messages are written through one buffer that is kept. */
import assert from "node:assert/strict";
import { RaftEntry, RaftLogBody } from "../../../../../src/common/api/generated/api.ts";

describe("common/api/generated", () => {
  const entry = (data: Uint8Array): RaftEntry => ({ term: 3, index: 7, type: "normal", data });

  it("gives each message bytes of its own", () => {
    const first = RaftEntry.encode(entry(Uint8Array.of(1, 2, 3)));
    const before = Buffer.from(first).toString("hex");
    RaftEntry.encode(entry(new Uint8Array(100).fill(9)));
    assert.equal(Buffer.from(first).toString("hex"), before);
  });

  it("encodes as before after a message that failed in the middle of a field", () => {
    const whole = { data: [Uint8Array.of(1), Uint8Array.of(2, 3)], confChanges: [1] };
    const expected = RaftLogBody.encode(whole);
    const broken = { data: whole.data, confChanges: { length: 1 } as unknown as number[] };
    assert.throws(() => RaftLogBody.encode(broken), TypeError);
    assert.deepEqual(RaftLogBody.encode(whole), expected);
  });

  it("encodes small messages as before after one that is too large to keep its buffer", () => {
    const small = RaftEntry.encode(entry(Uint8Array.of(5)));
    const large = RaftEntry.encode(entry(new Uint8Array(2 ** 20).fill(4)));
    assert.equal(RaftEntry.decode(large).data.length, 2 ** 20);
    assert.deepEqual(RaftEntry.encode(entry(Uint8Array.of(5))), small);
  });
});
