/**
 * Lists for people: columns as wide as their longest cell, as the stock client prints them. Pure.
 */

/** Rows under their headings. */
export function tableText(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heads, ...rows];
  const widths = heads.map((_, column) =>
    Math.max(...all.map((row) => (row[column] ?? "").length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("   ")
      .trimEnd();
  return `${all.map(line).join("\n")}\n`;
}

const spans: readonly (readonly [number, string])[] = [
  [1000, "second"],
  [60_000, "minute"],
  [3_600_000, "hour"],
  [86_400_000, "day"],
  [7 * 86_400_000, "week"],
];

/** `about 3 minutes ago` and the like. */
export function agoText(ms: number): string {
  const [unit, name] = spans.findLast(([length]) => ms >= length * (length === 1000 ? 1 : 2)) ?? [
    1000,
    "second",
  ];
  const count = Math.max(0, Math.floor(ms / unit));
  return ms < 1000 ? "less than a second ago" : `${count} ${name}${count === 1 ? "" : "s"} ago`;
}
