/**
 * Frames, however the bytes that carry them are cut.
 */
import { deepEqual, throws } from "node:assert/strict";
import { type Frame, FrameReader, frameOf } from "../../../../../src/common/rpc/frames.ts";

describe("src/common/rpc/frames", () => {
  const bytesMax = 1_000;
  const sent = [
    frameOf(Buffer.from("one")),
    frameOf(Buffer.alloc(0)),
    frameOf(Buffer.alloc(700, 7)),
  ];
  const all = Buffer.concat([...sent, frameOf(Buffer.from("end"), true)]);
  const expected = [
    ["one", false],
    ["", false],
    ["\x07".repeat(700), false],
    ["end", true],
  ];

  function reader(): { readonly reader: FrameReader; readonly frames: unknown[] } {
    const frames: unknown[] = [];
    const take = ({ bytes, isLast }: Frame) => frames.push([bytes.toString(), isLast]);
    return { reader: new FrameReader(bytesMax, take), frames };
  }

  it("finds all frames in one piece", () => {
    const found = reader();
    found.reader.take(all);
    deepEqual(found.frames, expected);
  });

  it("finds the same frames in pieces of any size", () => {
    for (const size of [1, 2, 3, 5, 64, 703]) {
      const found = reader();
      for (let at = 0; at < all.length; at += size) found.reader.take(all.subarray(at, at + size));
      deepEqual(found.frames, expected, `pieces of ${size}`);
    }
  });

  it("refuses a frame that is too large before it is there", () => {
    const found = reader();
    const large = frameOf(Buffer.alloc(bytesMax + 1)).subarray(0, 4);
    throws(() => found.reader.take(large), { code: "resource-exhausted" });
    throws(() => reader().reader.take(frameOf(Buffer.alloc(bytesMax + 1), true).subarray(0, 4)), {
      code: "resource-exhausted",
    });
    deepEqual(found.frames, []);
  });
});
