/**
 * Schedules as crontab(5) writes them: `minute hour day-of-month month day-of-week`, or `@daily` and its like. Pure.
 *
 * Names of months and days, lists, ranges and steps are understood; Sunday is 0 or 7. Where both days are given, either is
 * enough, as in every cron; a field that begins with `*` does not count as given.
 */
import { ClusterError } from "../errors/cluster-error.ts";

/** A schedule, ready to be asked for its times. */
export interface Schedule {
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly days: ReadonlySet<number>;
  /** 1 to 12. */
  readonly months: ReadonlySet<number>;
  /** 0 to 6, from Sunday. */
  readonly weekdays: ReadonlySet<number>;
  /** Whether one of the two days is enough. */
  readonly isEitherDay: boolean;
  /** Whether it goes by the hour that passes rather than by an hour of the day. */
  readonly isHourly: boolean;
}

interface Field {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly names?: readonly string[];
}

const fields: readonly Field[] = [
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  { name: "day of month", min: 1, max: 31 },
  {
    name: "month",
    min: 1,
    max: 12,
    names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  },
  {
    name: "day of week",
    min: 0,
    max: 7,
    names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
  },
];

const shortForms: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
};

/** Longest schedule that is read, characters: all values of all fields as lists fit. */
const lengthMax = 1_000;

/** Reads a schedule. @throws ClusterError `invalid-argument` that says which field is wrong, and what it may be. */
export function parseSchedule(text: string): Schedule {
  if (text.length > lengthMax) throw wrong(`a schedule has at most ${lengthMax} characters`);
  const words = (shortForms[text.trim().toLowerCase()] ?? text).trim().split(/\s+/);
  if (words.length !== fields.length)
    throw wrong(
      `${JSON.stringify(text)} is no schedule: it has to be five fields, minute hour day-of-month month day-of-week, or one of ${Object.keys(shortForms).join(", ")}`,
    );
  const [minutes, hours, days, months, weekdays] = words.map((word, at) =>
    parseField(word, fields[at] as Field),
  ) as [Set<number>, Set<number>, Set<number>, Set<number>, Set<number>];
  if (weekdays.delete(7)) weekdays.add(0);
  const isOpen = (at: number) => words[at]?.startsWith("*") === true;
  return {
    minutes,
    hours,
    days,
    months,
    weekdays,
    isEitherDay: !isOpen(2) && !isOpen(4),
    isHourly: isOpen(1),
  };
}

function parseField(text: string, field: Field): Set<number> {
  const values = new Set<number>();
  for (const part of text.split(",")) {
    const match = /^(\*|[a-z]+|\d{1,3})(?:-([a-z]+|\d{1,3}))?(?:\/(\d{1,3}))?$/i.exec(part);
    if (match === null) throw wrongField(part, field);
    const [, first = "", last, step] = match;
    if (first === "*" && last !== undefined) throw wrongField(part, field);
    const from = first === "*" ? field.min : numberOf(first, part, field);
    const open = first === "*" || step !== undefined;
    const to = last === undefined ? (open ? lastOf(field) : from) : numberOf(last, part, field);
    const by = step === undefined ? 1 : Number(step);
    if (by === 0 || to < from) throw wrongField(part, field);
    for (let value = from; value <= to; value += by) values.add(value);
  }
  return values;
}

/** Sunday counts once where all days are meant. */
function lastOf({ max, names }: Field): number {
  return names?.length === 7 ? 6 : max;
}

function numberOf(text: string, part: string, field: Field): number {
  const named = field.names?.indexOf(text.toLowerCase()) ?? -1;
  const value = named >= 0 ? named + field.min : Number(text);
  if (!(value >= field.min && value <= field.max)) throw wrongField(part, field);
  return value;
}

function wrongField(part: string, { name, min, max, names }: Field): ClusterError {
  const words = names === undefined ? "" : `, or ${names[0]} to ${names[names.length - 1]}`;
  return wrong(
    `${JSON.stringify(part)} is no ${name}: it has to be ${min} to ${max}${words}, *, a range such as ${min}-${max} or a step such as */5`,
  );
}

function wrong(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}
