/** Facts about the frames between managers: whole whatever the pieces they come in, bounded, and a sign of life when asked. */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { framed, PeerStream, type PeerStreamEnd } from "../../../../manager/raft/peer-stream.ts";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { peerMessageBytesMax } from "../../../../src/common/limits/limits.ts";
import { duplexPair } from "../../../support/duplex-pair.ts";

describe("manager/raft/peer-stream", () => {
  let far: Duplex;
  let stream: PeerStream;
  let frames: string[];
  let ends: (Error | undefined)[];
  let sent: Buffer[];

  function open(end: PeerStreamEnd, onFrame = (frame: Buffer) => void frames.push(String(frame))) {
    const [near, other] = duplexPair();
    far = other;
    frames = [];
    ends = [];
    sent = [];
    far.on("data", (bytes: Buffer) => sent.push(bytes));
    stream = new PeerStream(near, end, {
      onFrame,
      onDrain: () => {},
      onEnd: (error) => ends.push(error),
    });
  }
  afterEach(() => stream.destroy());

  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const write = async (bytes: Buffer) => {
    far.write(bytes);
    await turn();
  };
  const probe = Buffer.alloc(4);

  it("finds the frames in whatever pieces they come", async () => {
    const texts = ["a", "bc".repeat(300), "d", "e".repeat(4_000)];
    const all = Buffer.concat(texts.map((text) => framed(Buffer.from(text))));
    for (const size of [1, 3, 7, 601, 2_000, all.length]) {
      open("dialling");
      for (let at = 0; at < all.length; at += size) far.write(all.subarray(at, at + size));
      // The far end gives a piece a turn.
      while (frames.length < texts.length && ends.length === 0) await turn();
      assert.deepEqual(frames, texts, `pieces of ${size}`);
      stream.destroy();
    }
  });

  it("ends with a frame that is too large, before it is there", async () => {
    open("accepting");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(peerMessageBytesMax + 1);
    await write(length);
    assert.ok(hasCode(ends[0], "resource-exhausted"));
    assert.ok(far.destroyed);
  });

  it("ends with what the receiver of a frame throws, and takes nothing after it", async () => {
    let taken = 0;
    open("accepting", () => {
      taken++;
      throw new Error("not mine");
    });
    await write(Buffer.concat([framed(Buffer.from("a")), framed(Buffer.from("b"))]));
    assert.equal(ends[0]?.message, "not mine");
    assert.equal(taken, 1);
  });

  it("tells once that the other end closed", async () => {
    open("accepting");
    far.end();
    await turn();
    await turn();
    assert.deepEqual(ends, [undefined]);
  });

  it("answers a probe, which is no frame", async () => {
    open("accepting");
    await write(Buffer.concat([probe, framed(Buffer.from("a")), probe]));
    await turn();
    assert.deepEqual(frames, ["a"]);
    assert.deepEqual(Buffer.concat(sent), Buffer.concat([probe, probe]));
  });

  it("takes the other end for gone when a probe is not answered in a period", async () => {
    open("dialling");
    stream.look();
    await turn();
    assert.deepEqual(Buffer.concat(sent), probe);
    await write(probe);
    stream.look();
    assert.deepEqual(ends, []);
    stream.look();
    assert.ok(hasCode(ends[0], "unavailable"));
    assert.ok(far.destroyed);
  });

  it("lets go of one that dialled and says nothing for four periods", async () => {
    open("accepting");
    for (let period = 0; period < 4; period++) stream.look();
    await write(probe);
    for (let period = 0; period < 4; period++) stream.look();
    assert.deepEqual(ends, []);
    stream.look();
    assert.ok(hasCode(ends[0], "unavailable"));
  });

  it("sends a last frame and closes without a word to its owner", async () => {
    open("accepting");
    stream.end(framed(Buffer.from("no")));
    await turn();
    assert.deepEqual(Buffer.concat(sent), framed(Buffer.from("no")));
    far.end();
    await turn();
    assert.deepEqual(ends, []);
    assert.ok(stream.write(framed(Buffer.from("more"))));
    assert.equal(Buffer.concat(sent).length, 6);
  });
});
