/**
 * The resolvers of the host: read from its /etc/resolv.conf, again whenever it may have changed.
 */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { Clock } from "../../../src/common/clock/clock.ts";
import { nameResolversMax, nameResolversReadMs } from "../../../src/common/limits/names.ts";

/** A name server. */
export interface Resolver {
  /** With the zone of IPv6, such as fe80::1%eth0, where there is one. */
  readonly address: string;
  readonly port: number;
}

const dnsPort = 53;
/** When the host names none, as with Docker. */
const publicResolvers = ["8.8.8.8", "8.8.4.4"];

/** Resolvers of a text of /etc/resolv.conf, as many as are asked. */
export function resolversOf(text: string): Resolver[] {
  const found = text
    .split("\n")
    .flatMap((line) => /^\s*nameserver\s+([^\s#;]+)/.exec(line)?.[1] ?? [])
    .flatMap(resolverAt)
    .slice(0, nameResolversMax);
  return found.length > 0 ? found : publicResolvers.flatMap(resolverAt);
}

/** A resolver at an address; nothing for what is none. */
export function resolverAt(address: string): Resolver[] {
  return isIP(address) === 0 ? [] : [{ address, port: dnsPort }];
}

/** Reads a file of resolvers when it is asked, but not all the time. */
export class HostResolvers {
  readonly #path: string;
  readonly #clock: Clock;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #present: readonly Resolver[] = resolversOf("");

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  /** Never rejects: a file that is just being replaced was right a moment ago. */
  async get(): Promise<readonly Resolver[]> {
    const now = this.#clock.monotonic();
    if (now - this.#readAtMs < nameResolversReadMs) return this.#present;
    this.#readAtMs = now;
    try {
      this.#present = resolversOf(await readFile(this.#path, "utf8"));
    } catch {
      // Gone or not to be read: what it said last is the best there is.
    }
    return this.#present;
  }
}
