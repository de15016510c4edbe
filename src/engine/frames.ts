/**
 * Output of containers as it goes over the wire: frames that tell standard output from standard error, keys that detach a
 * terminal, log lines with their time. Pure. Follows the Engine API's description of the attach stream.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Clients fail with what comes as `error`: it is the daemon's own. */
const streamNumbers = { stdin: 0, stdout: 1, stderr: 2, error: 3 } as const;

/** One frame: number of the stream, three zeros, length as a big-endian number of four bytes, then the bytes. */
export function frame(stream: "stdout" | "stderr" | "error", data: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(8 + data.length);
  bytes.writeUInt32BE(streamNumbers[stream] * 2 ** 24, 0);
  bytes.writeUInt32BE(data.length, 4);
  bytes.set(data, 8);
  return bytes;
}

const defaultKeys = "ctrl-p,ctrl-q";
const controlKeys = "@abcdefghijklmnopqrstuvwxyz[\\]^_";

/**
 * The bytes of keys such as `ctrl-p,ctrl-q` or `a,b`; those of the default for "".
 * @throws ClusterError `invalid-argument` for what is no key.
 */
export function detachKeys(text: string): Uint8Array {
  const keys = text === "" ? defaultKeys : text;
  return Uint8Array.from(
    keys.split(",").map((key) => {
      if (key.length === 1) return key.charCodeAt(0);
      const code = key.startsWith("ctrl-") ? controlKeys.indexOf(key.slice(5).toLowerCase()) : -1;
      if (key.length === 6 && code >= 0) return code;
      throw new ClusterError("invalid-argument", `Invalid detach keys (${text}) provided`);
    }),
  );
}

/** Looks for the keys in what is typed, also when they come in several pieces. */
export class DetachScanner {
  readonly #keys: Uint8Array;
  /** How many of the keys were typed last. */
  #typed = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /** @returns What goes on to the process, and whether the keys were completed; what follows them is dropped. */
  feed(data: Uint8Array): { readonly pass: Uint8Array; readonly detached: boolean } {
    const pass: number[] = [];
    for (const byte of data) {
      if (byte === this.#keys[this.#typed]) {
        this.#typed += 1;
        if (this.#typed === this.#keys.length) {
          this.#typed = 0;
          return { pass: Uint8Array.from(pass), detached: true };
        }
        continue;
      }
      // Not the keys after all: what was held back goes on.
      pass.push(...this.#keys.subarray(0, this.#typed));
      this.#typed = 0;
      if (byte === this.#keys[0]) this.#typed = 1;
      else pass.push(byte);
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}

/** RFC 3339 with nine digits of the second, as `docker logs --timestamps` shows it. */
export function logTime(ns: bigint): string {
  const seconds = new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;
}

/**
 * Nanoseconds since the epoch from what clients send: Unix seconds with fraction, or a date; undefined for none.
 * @throws ClusterError `invalid-argument` naming the parameter.
 */
export function nanosecondsFrom(name: string, text: string): bigint | undefined {
  if (text === "" || text === "0") return undefined;
  const match = /^(-?\d{1,12})(?:\.(\d{1,9}))?$/.exec(text);
  if (match !== null) {
    return BigInt(match[1] ?? 0) * 1_000_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
  }
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw new ClusterError("invalid-argument", `invalid value for ${name}: ${text}`);
  return BigInt(ms) * 1_000_000n;
}
