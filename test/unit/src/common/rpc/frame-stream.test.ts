/**
 * Streams of frames over a connection that keeps what is written until it is read.
 */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Duplex } from "node:stream";
import {
  directPieceBytesMax,
  directReadFramesMax,
  directWriteBytesMax,
} from "../../../../../src/common/limits/limits.ts";
import { FrameStream } from "../../../../../src/common/rpc/frame-stream.ts";
import { duplexPair } from "../../../../support/duplex-pair.ts";

describe("src/common/rpc/frame-stream", () => {
  const bytes = (length: number, value = 1) => Buffer.alloc(length, value);

  it("carries frames each way and says when nothing follows", async () => {
    const [left, right] = duplexPair();
    const here = new FrameStream(left);
    const there = new FrameStream(right);
    await here.write(bytes(3));
    await there.write(bytes(5), true);
    deepEqual(await there.next(), { bytes: bytes(3), isLast: false });
    deepEqual(await here.next(), { bytes: bytes(5), isLast: true });
    here.destroy();
  });

  it("writes little in pieces that fit into the first buffer of TLS, one at a time", async () => {
    const pieces: { readonly size: number; readonly done: () => void }[] = [];
    const socket = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => void pieces.push({ size: chunk.length, done }),
    });
    const stream = new FrameStream(socket);
    for (const size of [100, 200, 1_900]) await stream.write(bytes(size));
    for (let i = 0; i < 3; i++) {
      equal(pieces.length, i + 1);
      pieces[i]?.done();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const total = 100 + 200 + 1_900 + 3 * 4;
    deepEqual(
      pieces.map(({ size }) => size),
      [104, directPieceBytesMax, directPieceBytesMax, total - 104 - 2 * directPieceBytesMax],
    );
  });

  it("has whoever sends much wait until the other end has read it", async () => {
    const [left, right] = duplexPair();
    const here = new FrameStream(left);
    let isTaken = false;
    const writing = here.write(bytes(1_000_000)).then(() => {
      isTaken = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    equal(isTaken, false);
    const there = new FrameStream(right);
    equal((await there.next()).bytes.length, 1_000_000);
    await writing;
    here.destroy();
  });

  it("reads no more than a few frames that nobody asks for", async () => {
    const [left, right] = duplexPair();
    const here = new FrameStream(left);
    const there = new FrameStream(right);
    let sent = 0;
    const count = 50;
    const writing = (async () => {
      for (; sent < count; sent++) await here.write(bytes(directWriteBytesMax, sent));
    })();
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    ok(sent < directReadFramesMax + 20, `${sent} were sent`);
    for (let i = 0; i < count; i++) equal((await there.next()).bytes[0], i);
    await writing;
    here.destroy();
  });

  it("tells the last frame before the connection closes", async () => {
    const [left, right] = duplexPair();
    const here = new FrameStream(left);
    const there = new FrameStream(right);
    await here.write(bytes(2));
    here.end(bytes(100_000));
    equal((await there.next()).isLast, false);
    const last = await there.next();
    deepEqual([last.bytes.length, last.isLast], [100_000, true]);
    await rejects(there.next(), { code: "unavailable" });
    await rejects(here.write(bytes(1)), { code: "unavailable" });
  });

  it("fails readers and writers when the connection breaks, and says so once", async () => {
    const [left, right] = duplexPair();
    let gone = 0;
    const here = new FrameStream(left, () => gone++);
    const reading = rejects(here.next(), { code: "unavailable" });
    const writing = rejects(here.write(bytes(1_000_000)), { code: "unavailable" });
    right.destroy();
    await Promise.all([reading, writing]);
    await rejects(here.next(), { code: "unavailable" });
    await rejects(here.write(bytes(1)), { code: "unavailable" });
    equal(gone, 1);
  });

  it("gives up a connection with a frame beyond the bound", async () => {
    const [left, right] = duplexPair();
    const here = new FrameStream(left);
    right.write(Buffer.from([0x7f, 0xff, 0xff, 0xff, 1]));
    await rejects(here.next(), { code: "resource-exhausted" });
    equal(left.destroyed, true);
  });
});
