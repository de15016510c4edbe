/**
 * Times that services say by labels: for which a task that is to stop may serve its open connections (`skep.drain`), and
 * which one that starts may take until it listens (`skep.listen`). Pure.
 */

/** A task is not kept from stopping for longer, milliseconds. */
export const drainMsMax = 3_600_000;

/** Reads `30s`, `1m30s`, `500ms`, `0`, in milliseconds; undefined for what is none. */
export function drainMsOf(text: string): number | undefined {
  if (text === "0") return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) return undefined;
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  const ms = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (units[unit ?? ""] ?? 0),
    0,
  );
  return Math.round(ms);
}
