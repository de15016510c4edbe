/**
 * How far the clocks of a time zone are from UTC, from the tables of `Intl`. Pure: the same for the same tables.
 */

const formats = new Map<string, Intl.DateTimeFormat>();

/** Whether there is a time zone of that name, as `Europe/Berlin`. */
export function isTimeZone(zone: string): boolean {
  try {
    return formatOf(zone) !== undefined;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** What a zone's clocks show more than UTC at an instant, milliseconds. @param at Milliseconds since the epoch. */
export function offsetAt(zone: string, at: number): number {
  if (zone === "UTC") return 0;
  const shown = new Map<string, number>();
  for (const { type, value } of formatOf(zone).formatToParts(at)) shown.set(type, Number(value));
  const part = (type: string) => shown.get(type) ?? 0;
  const wall = Date.UTC(
    part("year"),
    part("month") - 1,
    part("day"),
    part("hour"),
    part("minute"),
    part("second"),
  );
  return wall - Math.floor(at / 1000) * 1000;
}

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    formats.set(zone, format);
  }
  return format;
}
