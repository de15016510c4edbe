/**
 * Records out of frames, however the bytes are cut.
 */
import assert from "node:assert/strict";
import { frame } from "../../../../src/engine/frames.ts";
import { type FramedRecord, recordsFromFrames } from "../../../../src/engine/log-frames.ts";

const time = "2026-11-21T10:00:00.123456789Z";

describe("src/engine/log-frames", () => {
  const lines = [
    frame("stdout", Buffer.from(`${time} first line\n`)),
    frame("stderr", Buffer.from(`${time} \n`)),
    frame("stdout", Buffer.from(`${time} no line end`)),
  ];
  const whole = Buffer.concat(lines);

  async function records(pieces: readonly Buffer[], details = false): Promise<FramedRecord[]> {
    const found: FramedRecord[] = [];
    const source = (async function* () {
      yield* pieces;
    })();
    for await (const record of recordsFromFrames(source, details)) found.push(record);
    return found;
  }

  for (const size of [1, 7, 8, 9, 64, 1000]) {
    it(`reads them from pieces of ${size} bytes`, async () => {
      const pieces: Buffer[] = [];
      for (let at = 0; at < whole.length; at += size) pieces.push(whole.subarray(at, at + size));
      const found = await records(pieces);
      assert.deepEqual(
        found.map(({ stream, time: at, data }) => [stream, at, String(data)]),
        [
          ["stdout", time, "first line\n"],
          ["stderr", time, "\n"],
          ["stdout", time, "no line end"],
        ],
      );
    });
  }

  it("takes the details off where there are some", async () => {
    const line = frame("stdout", Buffer.from(`${time} a=1,b=2 text here\n`));
    const none = frame("stdout", Buffer.from(`${time}  text\n`));
    const found = await records([Buffer.concat([line, none])], true);
    assert.deepEqual(
      found.map(({ details, data }) => [details, String(data)]),
      [
        ["a=1,b=2", "text here\n"],
        ["", "text\n"],
      ],
    );
  });

  it("drops a frame that was cut off", async () => {
    assert.deepEqual(await records([whole.subarray(0, 20)]), []);
  });
});
