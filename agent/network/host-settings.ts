/**
 * Kernel settings of the node's own network that the data path cannot do without, remembered so that they are as before
 * once nothing needs them.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../src/common/log/log.ts";
import { canEnter, readSettings, within, writeSettings } from "./namespace.ts";

const forward4 = "net/ipv4/ip_forward";
const forward6 = "net/ipv6/conf/all/forwarding";

/** The settings of one daemon. */
export class HostSettings {
  readonly #file: string;
  readonly #host: string | undefined;
  readonly #log: Log;

  /**
   * @param file Where what was before is remembered.
   * @param host File of the node's own network; the daemon's when undefined.
   */
  constructor(file: string, host: string | undefined, log: Log) {
    this.#file = file;
    this.#host = host;
    this.#log = log;
  }

  /** Lets the node hand packets on. */
  async need(): Promise<void> {
    const found = await readSettings(this.#host, [forward4, forward6]);
    const changes = [...found].filter(([, value]) => value === "0").map(([path]) => path);
    if (changes.length === 0) return;
    // A node that forwards takes no routes from its routers any more, unless they are wanted all the same.
    const routers = changes.includes(forward6) ? await this.#routerSettings() : [];
    const before = [...changes, ...routers.map(([path]) => path)];
    await this.keep(before);
    this.#log.info("the node forwards packets from now on", { settings: changes.join(" ") });
    await writeSettings(this.#host, routers);
    await writeSettings(
      this.#host,
      changes.map((path) => [path, "1"] as const),
    );
  }

  /** Remembers what is about to change: what is remembered of an earlier life stays. */
  async keep(paths: readonly string[]): Promise<void> {
    const values = await readSettings(this.#host, paths);
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o711 });
    writeFileSync(this.#file, JSON.stringify({ ...Object.fromEntries(values), ...this.#kept() }));
  }

  /** Puts them back. @param shared Another daemon needs them: they stay. */
  async release(shared: boolean): Promise<void> {
    const kept = Object.entries(this.#kept());
    rmSync(this.#file, { force: true });
    if (kept.length === 0 || shared) return;
    await writeSettings(this.#host, kept);
  }

  async #routerSettings(): Promise<[string, string][]> {
    const list = () => readdirSync("/proc/sys/net/ipv6/conf");
    const devices = this.#host === undefined || !canEnter() ? list() : within(this.#host, list);
    const paths = devices.map((device) => `net/ipv6/conf/${device}/accept_ra`);
    const values = await readSettings(this.#host, paths);
    return [...values].filter(([, value]) => value === "1").map(([path]) => [path, "2"]);
  }

  #kept(): Readonly<Record<string, string>> {
    try {
      return JSON.parse(readFileSync(this.#file, "utf8")) as Record<string, string>;
    } catch {
      // Nothing was changed.
      return {};
    }
  }
}
