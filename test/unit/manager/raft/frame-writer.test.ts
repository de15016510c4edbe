/** Frames for peers: the same messages as the generated code would write, and entries that are written once. */
import assert from "node:assert/strict";
import { message } from "../../../../manager/raft/core/message.ts";
import type { Entry } from "../../../../manager/raft/core/types.ts";
import { FrameWriter } from "../../../../manager/raft/frame-writer.ts";
import { frameLengthBytes } from "../../../../manager/raft/peer-stream.ts";
import { coreMessage, wireMessage } from "../../../../manager/raft/wire.ts";
import { RaftFrame } from "../../../../src/common/api/generated/api.ts";

const entry = (index: number, fields: Partial<Entry> = {}): Entry => ({
  index,
  term: 3,
  type: "normal",
  data: Buffer.from(`entry ${index}`),
  ...fields,
});
const append = (to: number, entries: readonly Entry[]) =>
  message({ type: "app", to, from: 1, term: 3, logTerm: 2, index: 6, entries, commit: 5 });
const decoded = (bytes: Uint8Array) => RaftFrame.decode(bytes).messages.map(coreMessage);
const read = (frame: Buffer) => {
  assert.equal(frame.readUInt32BE(0), frame.length - frameLengthBytes);
  return decoded(frame.subarray(frameLengthBytes));
};

describe("manager/raft/frame-writer", () => {
  it("writes what the generated code reads", () => {
    const messages = [
      append(2, [
        entry(7),
        entry(8, { type: "conf-change", data: new Uint8Array(0) }),
        entry(2 ** 40, { term: 2 ** 52, data: Buffer.alloc(300, 5) }),
        entry(2 ** 31, { term: 127, data: Buffer.alloc(20_000, 6) }),
      ]),
      message({ type: "vote", to: 2, from: 1, term: 4, index: 9, context: Buffer.from("c") }),
      append(2, []),
    ];
    const plain = decoded(
      RaftFrame.encode(RaftFrame.create({ messages: messages.map((one) => wireMessage(one)) })),
    );
    assert.deepEqual(read(new FrameWriter().frame(messages)), plain);
    assert.equal(plain[0]?.entries.length, 4);
  });

  it("sends other entries when another peer lacks others", () => {
    const frames = new FrameWriter();
    const entries = [entry(7), entry(8), entry(9)];
    const sent = (list: readonly Entry[]) =>
      read(frames.frame([append(2, list)]))[0]?.entries.map((e) => Buffer.from(e.data).toString());
    assert.deepEqual(sent(entries), ["entry 7", "entry 8", "entry 9"]);
    assert.deepEqual(sent([...entries]), ["entry 7", "entry 8", "entry 9"]);
    assert.deepEqual(sent(entries.slice(1)), ["entry 8", "entry 9"]);
    assert.deepEqual(sent(entries.slice(0, 2)), ["entry 7", "entry 8"]);
    const replaced = [entry(7), entry(8), entry(9, { term: 4, data: Buffer.from("other") })];
    assert.deepEqual(sent(replaced), ["entry 7", "entry 8", "other"]);
  });

  it("writes the same entries for a second peer without reading them again", () => {
    const frames = new FrameWriter();
    let reads = 0;
    const counted = {
      ...entry(7),
      get data() {
        reads++;
        return Buffer.from("x");
      },
    };
    frames.frame([append(2, [counted])]);
    const once = reads;
    const second = read(frames.frame([append(3, [counted])]));
    assert.equal(reads, once);
    assert.equal(second[0]?.to, 3);
    frames.forget();
    frames.frame([append(2, [counted])]);
    assert.ok(reads > once);
  });
});
