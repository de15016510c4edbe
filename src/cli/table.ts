/**
 * Lists for people: columns as wide as their longest cell. Pure.
 */

/** Rows under their headings, as the stock client prints them. */
export function tableText(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  return `${inColumns([heads, ...rows], "   ").join("\n")}\n`;
}

/** A line for each row; what ends a row needs no room. */
export function inColumns(rows: readonly (readonly string[])[], gap: string): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.slice(0, -1).entries())
      widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  const padded = (row: readonly string[]) =>
    row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0)));
  return rows.map((row) => padded(row).join(gap).trimEnd());
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

/** What went wrong, as `docker service ps` has it in a table: on one line, its own quotation marks as they are. */
export function quotedText(text: string): string {
  return `"${text.replace(/\s*\n\s*/g, " ")}"`;
}
