/**
 * Schedules: what is read, what is refused, and when they are due, also where the clocks change.
 */
import assert from "node:assert/strict";
import { lastTime, nextTime } from "../../../../../src/common/job/next-time.ts";
import { parseSchedule } from "../../../../../src/common/job/schedule.ts";
import { isTimeZone } from "../../../../../src/common/job/zone.ts";

/** The next times after a moment, in UTC to the minute. */
function due(text: string, zone: string, after: string, count: number): string[] {
  const schedule = parseSchedule(text);
  const times: string[] = [];
  let at: number | undefined = Date.parse(after);
  while (times.length < count) {
    at = nextTime(schedule, zone, at);
    if (at === undefined) return [...times, "never"];
    times.push(new Date(at).toISOString().slice(0, 16));
  }
  return times;
}

describe("src/common/job/schedule", () => {
  const cases: readonly (readonly [string, string, readonly string[]])[] = [
    ["* * * * *", "2026-01-31T23:58:30Z", ["2026-01-31T23:59", "2026-02-01T00:00"]],
    ["*/15 * * * *", "2026-01-01T00:00Z", ["2026-01-01T00:15", "2026-01-01T00:30"]],
    ["5/20 3 * * *", "2026-01-01T00:00Z", ["2026-01-01T03:05", "2026-01-01T03:25"]],
    ["0 9-17/4 * * mon-fri", "2026-01-02T14:00Z", ["2026-01-02T17:00", "2026-01-05T09:00"]],
    ["0 0 1,15 * *", "2026-01-02T00:00Z", ["2026-01-15T00:00", "2026-02-01T00:00"]],
    // Either day is enough when both are given.
    ["0 0 13 * fri", "2026-01-10T00:00Z", ["2026-01-13T00:00", "2026-01-16T00:00"]],
    ["0 0 */2 * sun", "2026-01-01T00:00Z", ["2026-01-11T00:00", "2026-01-25T00:00"]],
    ["0 0 * * 7", "2026-01-01T00:00Z", ["2026-01-04T00:00", "2026-01-11T00:00"]],
    ["0 0 * * 5-7", "2026-01-01T00:00Z", ["2026-01-02T00:00", "2026-01-03T00:00"]],
    ["0 0 29 feb *", "2026-01-01T00:00Z", ["2028-02-29T00:00", "2032-02-29T00:00"]],
    ["0 0 31 2,4,6 *", "2026-01-01T00:00Z", ["never"]],
    ["@daily", "2026-01-01T00:00Z", ["2026-01-02T00:00", "2026-01-03T00:00"]],
    ["@Weekly", "2026-01-01T00:00Z", ["2026-01-04T00:00", "2026-01-11T00:00"]],
    ["@yearly", "2026-01-01T00:00Z", ["2027-01-01T00:00", "2028-01-01T00:00"]],
  ];
  for (const [text, after, times] of cases) {
    it(`is due for ${text}`, () =>
      assert.deepEqual(due(text, "UTC", after, 2).slice(0, times.length), times));
  }

  const refused: readonly (readonly [string, RegExp])[] = [
    ["", /five fields/],
    ["* * * *", /five fields/],
    ["0 * * * * *", /five fields/],
    ["@reboot", /five fields/],
    ["60 * * * *", /"60" is no minute: it has to be 0 to 59/],
    ["* 24 * * *", /"24" is no hour/],
    ["* * 0 * *", /"0" is no day of month/],
    ["* * * foo *", /"foo" is no month: it has to be 1 to 12, or jan to dec/],
    ["* * * * 8", /"8" is no day of week/],
    ["5-1 * * * *", /"5-1" is no minute/],
    ["*/0 * * * *", /is no minute/],
    ["*-5 * * * *", /is no minute/],
    ["1,, * * * *", /"" is no minute/],
    ["-1 * * * *", /is no minute/],
    [`${"1,".repeat(600)}1 * * * *`, /at most 1000 characters/],
  ];
  for (const [text, why] of refused) {
    it(`refuses ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(() => parseSchedule(text), { code: "invalid-argument", message: why });
    });
  }
});

describe("src/common/job/next-time", () => {
  // Berlin: put forward at 01:00 UTC on 2026-03-29 (02:00 becomes 03:00), back at 01:00 UTC on 2026-10-25 (03:00, 02:00).
  const berlin: readonly (readonly [string, string, string, readonly string[]])[] = [
    [
      "goes by the zone",
      "30 3 * * *",
      "2026-03-27T12:00Z",
      ["2026-03-28T02:30", "2026-03-29T01:30"],
    ],
    [
      "makes up at once for an hour left out",
      "30 2 * * *",
      "2026-03-28T12:00Z",
      ["2026-03-29T01:00", "2026-03-30T00:30"],
    ],
    [
      "does so once for all of the hour",
      "0,20,40 2 * * *",
      "2026-03-28T12:00Z",
      ["2026-03-29T01:00", "2026-03-30T00:00"],
    ],
    [
      "takes the first of two passes",
      "30 2 * * *",
      "2026-10-24T12:00Z",
      ["2026-10-25T00:30", "2026-10-26T01:30"],
    ],
    [
      "takes no second pass that has begun",
      "30 2 * * *",
      "2026-10-25T01:10Z",
      ["2026-10-26T01:30"],
    ],
    [
      "is due at the end of the second pass",
      "0 3 * * *",
      "2026-10-25T00:30Z",
      ["2026-10-25T02:00"],
    ],
    [
      "goes on by the hour where it is put forward",
      "15 * * * *",
      "2026-03-29T00:00Z",
      ["2026-03-29T00:15", "2026-03-29T01:15", "2026-03-29T02:15"],
    ],
    [
      "goes on by the hour where it is put back",
      "15 * * * *",
      "2026-10-24T23:20Z",
      ["2026-10-25T00:15", "2026-10-25T01:15", "2026-10-25T02:15"],
    ],
    [
      "goes on by the minute where it is put back",
      "*/30 * * * *",
      "2026-10-25T00:00Z",
      ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T02:00"],
    ],
  ];
  for (const [fact, text, after, times] of berlin) {
    it(fact, () => assert.deepEqual(due(text, "Europe/Berlin", after, times.length), times));
  }

  it("knows zones that move by half an hour, and such that are not by whole hours", () => {
    // Lord Howe: 02:00 becomes 02:30 on 2026-10-04, 15:30 UTC the day before.
    assert.deepEqual(due("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", 2), [
      "2026-10-03T15:30",
      "2026-10-04T15:10",
    ]);
    assert.deepEqual(due("0 6 * * *", "Asia/Kathmandu", "2026-01-01T00:00Z", 1), [
      "2026-01-01T00:15",
    ]);
    assert.equal(isTimeZone("Europe/Berlin"), true);
    assert.equal(isTimeZone("Europe/Nowhere"), false);
    assert.equal(isTimeZone(""), false);
  });

  it("is due once every day of ten years, in zones of all kinds", () => {
    for (const zone of [
      "Europe/Berlin",
      "America/New_York",
      "Africa/Casablanca",
      "America/Santiago",
    ]) {
      const schedule = parseSchedule("30 2 * * *");
      let at = Date.parse("2026-01-01T12:00Z");
      for (let day = 0; day < 1_000; day++) {
        const next = nextTime(schedule, zone, at) ?? 0;
        const hours = (next - at) / 3_600_000;
        if (day > 0)
          assert.ok(
            hours >= 22.5 && hours <= 25.5,
            `${zone} ${new Date(next).toISOString()} ${hours}`,
          );
        at = next;
      }
    }
  });

  it("finds the last time of a span, however rare", () => {
    const at = (text: string, afterMs: string, untilMs: string) => {
      const span = { afterMs: Date.parse(afterMs), untilMs: Date.parse(untilMs) };
      const last = lastTime(parseSchedule(text), "UTC", span);
      return last === undefined ? undefined : new Date(last).toISOString().slice(0, 16);
    };
    assert.equal(at("* * * * *", "2020-01-01T00:00Z", "2026-01-01T10:30:30Z"), "2026-01-01T10:30");
    assert.equal(at("0 3 * * *", "2026-01-01T00:00Z", "2026-01-05T09:00Z"), "2026-01-05T03:00");
    assert.equal(at("0 3 * * *", "2026-01-05T03:00Z", "2026-01-05T09:00Z"), undefined);
    assert.equal(at("* * 1 1 *", "2020-01-01T00:00Z", "2026-03-01T09:00Z"), "2026-01-01T23:59");
    // A time counts at its very moment, and the beginning of the span does not.
    assert.equal(at("0 3 * * *", "2026-01-04T03:00Z", "2026-01-05T03:00Z"), "2026-01-05T03:00");
  });
});
