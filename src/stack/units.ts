/**
 * Sizes and times as Go programs read and write them. Pure.
 */

const sizeUnits = ["", "k", "m", "g", "t", "p"];

/** `50M`, `1.5gb`, `512KiB`, `1024`: bytes, in powers of 1024; undefined when it is none. */
export function bytesFrom(text: string): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  const bytes = Math.trunc(Number(number) * 1024 ** sizeUnits.indexOf(unit.toLowerCase()));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const durationUnits: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
  d: 24 * 3600e9,
  w: 7 * 24 * 3600e9,
};

/** `1h2m3.5s`, `1d`, `0`: nanoseconds; undefined when it is none. */
export function durationFrom(text: string): number | undefined {
  const [, sign = "", body = ""] = /^([-+]?)(.*)$/s.exec(text.trim()) ?? [];
  if (body === "0") return 0;
  let total = 0;
  let rest = body;
  while (rest !== "") {
    const [piece, number = "", unit = ""] =
      /^(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)/.exec(rest) ?? [];
    if (piece === undefined) return undefined;
    total += Number(number) * (durationUnits[unit] ?? 0);
    rest = rest.slice(piece.length);
  }
  if (body === "" || !Number.isFinite(total)) return undefined;
  return Math.round(total) * (sign === "-" ? -1 : 1);
}

/** Nanoseconds as `1h2m3.5s`. */
export function durationText(ns: number): string {
  if (ns === 0) return "0s";
  const sign = ns < 0 ? "-" : "";
  const size = Math.abs(ns);
  for (const [unit, length, limit] of [
    ["ns", 1, 1e3],
    ["µs", 1e3, 1e6],
    ["ms", 1e6, 1e9],
  ] as const)
    if (size < limit) return `${sign}${size / length}${unit}`;
  const hours = Math.floor(size / 3600e9);
  const minutes = Math.floor((size % 3600e9) / 60e9);
  const seconds = (size % 60e9) / 1e9;
  const parts = [
    hours > 0 ? `${hours}h` : "",
    hours + minutes > 0 ? `${minutes}m` : "",
    `${seconds}s`,
  ];
  return (
    sign +
    parts
      .join("")
      .replace(/(?<=[hm])0s$/, "")
      .replace(/(?<=h)0m$/, "")
  );
}
