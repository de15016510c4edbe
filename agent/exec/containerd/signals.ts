/**
 * Signals by name or number, as `docker kill` takes them. Pure.
 */
import { constants } from "node:os";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** First and last real-time signal for programs of the GNU C library. */
const realTimeMin = 34;
const realTimeMax = 64;

/** The signal's number. @throws ClusterError invalid-argument for what is none. */
export function signalNumber(text: string): number {
  const refuse = () => new ClusterError("invalid-argument", `Invalid signal: ${text}`);
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number < 1 || number > realTimeMax) throw refuse();
    return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realTime !== null) {
    const [, end, sign, offset = "0"] = realTime;
    const number =
      (end === "MIN" ? realTimeMin : realTimeMax) + (sign === "-" ? -1 : 1) * Number(offset);
    if (number < realTimeMin || number > realTimeMax) throw refuse();
    return number;
  }
  const number: number | undefined = (constants.signals as Record<string, number>)[`SIG${name}`];
  if (number === undefined) throw refuse();
  return number;
}
