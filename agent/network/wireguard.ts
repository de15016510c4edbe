/**
 * The node's WireGuard device, through which the frames of encrypted networks travel (network.md, section 3): its key, which
 * never leaves the node, the kernel's device or else the program wireguard-go, and the other nodes as peers.
 *
 * One device per node in its own network. Like everything of the data path it outlives the daemon.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { wireguardHoldMs, wireguardStartMs } from "../../src/common/limits/network.ts";
import type { Log } from "../../src/common/log/log.ts";
import { wireguardDevice } from "./names.ts";
import { command, within } from "./namespace.ts";
import { wireguardAddress } from "./pools.ts";
import {
  keptEndpoints,
  type SeenPeer,
  seenPeers,
  type TunnelEntry,
  type TunnelPeer,
  textOf,
  tunnelEntries,
  watchPauseMs,
  wireguardConf,
} from "./wireguard-conf.ts";
import { WireguardKeys } from "./wireguard-keys.ts";

/** What it is made with. */
export interface WireguardOptions {
  readonly instance: string;
  /** Where the private key is kept. */
  readonly keyFile: string;
  /** From when the managers tell of the node's next key until it is used, milliseconds. */
  readonly keyHoldMs?: number;
  /** For a moment what the device is told is in it; best in memory. */
  readonly confFile: string;
  /** File of the node's own network; the daemon's when undefined. */
  readonly host: string | undefined;
  /** Remembers kernel settings that are about to change. */
  readonly keepSettings: (paths: readonly string[]) => Promise<void>;
  /** The device has gone away by itself. */
  readonly onDown: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Bytes of WireGuard around a packet, over IPv6 at worst. */
const overhead = 80;
/** How long others are spoken to first after the key has changed: a handshake is tried again after five seconds. */
const speakMs = 12_000;
/** The kernel's WireGuard turns it off for good when a device of its kind comes up (`wg_open` in its drivers). */
const changedByKernel = ["net/ipv4/conf/all/send_redirects"];
/** How often a device that comes up is looked for, milliseconds. */
const lookMs = 20;

/** The tunnel of one node. */
export class Wireguard {
  readonly device: string;
  readonly #o: WireguardOptions;
  #way: "kernel" | "program" | "none" | undefined;
  readonly #keys: WireguardKeys;
  /** What the device was last made from; empty when that is not known. */
  #said = "";
  /** Endpoints that were told, by key. */
  #told = new Map<string, string>();
  /** Until when all others are spoken to first, monotonic: they are to hear the new key. */
  #speaksUntil = -Infinity;
  /** Keys of other nodes that are about to follow, and since when these, monotonic. */
  #watched = { keys: "", since: 0 };
  #child: ChildProcess | undefined;

  constructor(options: WireguardOptions) {
    this.#o = options;
    this.device = wireguardDevice(options.instance);
    this.#keys = new WireguardKeys(options.keyFile, options.keyHoldMs ?? wireguardHoldMs);
  }

  /** Finds out what this node can do. Never rejects. */
  async open(): Promise<void> {
    this.#way = await this.#findWay().catch(() => "none" as const);
  }

  /** Public key, 32 bytes; empty on a node that cannot encrypt. */
  publicKey(): Uint8Array {
    return this.#isAble() ? this.#keys.publicKey : new Uint8Array(0);
  }

  /** The public key that will follow; empty unless it is about to change. */
  nextPublicKey(): Uint8Array {
    return this.#isAble() ? this.#keys.nextPublicKey : new Uint8Array(0);
  }

  /** Begins to change the key. */
  rotate(): void {
    if (this.#isAble()) this.#keys.rotate();
  }

  /** Goes over to the next key when it is time. @param told That of this node, as the managers tell it. */
  turn(told: Uint8Array): void {
    const { clock, log } = this.#o;
    if (!this.#keys.turn(told, clock.monotonic())) return;
    this.#speaksUntil = clock.monotonic() + speakMs;
    log.info("key for encrypted networks changed");
  }

  /** Milliseconds until there is something to do or to look at; infinite while there is not. */
  dueMs(): number {
    const now = this.#o.clock.monotonic();
    const speaks = this.#speaksUntil > now ? this.#speaksUntil - now : Infinity;
    const { keys, since } = this.#watched;
    const watch = keys === "" ? Infinity : watchPauseMs(now - since);
    return Math.min(this.#keys.dueMs(now), speaks, watch);
  }

  /** @throws ClusterError failed-precondition on a node that cannot encrypt, saying what it lacks. */
  check(): void {
    if (this.#way !== "none") return;
    throw new ClusterError(
      "failed-precondition",
      "this node cannot encrypt: install wireguard-tools and, unless its kernel has WireGuard, wireguard-go (which needs /dev/net/tun); then restart the daemon",
    );
  }

  /**
   * Makes the device what it should be. @returns Whether it was made anew: what was on top of it is gone then.
   *
   * @throws ClusterError failed-precondition or unavailable.
   */
  async ensure(self: TunnelPeer, others: readonly TunnelPeer[], mtu: number): Promise<boolean> {
    this.check();
    const { code, stdout } = await this.#run(["ip", "link", "show", this.device]);
    const isNew = code !== 0;
    if (!/[<,]UP[,>]/.test(stdout)) this.#said = "";
    if (isNew) await this.#make();
    const { clock } = this.#o;
    const following = others.map(({ nextWireguardPublicKey: next }) => textOf(next)).join("");
    if (following !== this.#watched.keys) {
      this.#watched = { keys: following, since: clock.monotonic() };
    }
    const seen = following !== "" || this.#said === "" ? await this.#seen() : undefined;
    const entries = tunnelEntries({
      self,
      others,
      seen: seen ?? new Map(),
      speaksFirst: clock.monotonic() < this.#speaksUntil,
    });
    const { privateKey } = this.#keys;
    const said = JSON.stringify([self.number, mtu, privateKey, entries]);
    if (said === this.#said) return isNew;
    await this.#configure(privateKey, entries, seen ?? (await this.#seen()));
    const lines = [
      `addr replace ${wireguardAddress(self.number)}/16 dev ${this.device}`,
      `link set ${this.device} mtu ${mtu - overhead} up`,
    ];
    await this.#must(["ip", "-batch", "-"], `${lines.join("\n")}\n`);
    this.#said = said;
    return isNew;
  }

  /** Removes the device; a program that served it ends with it. Fine when there is none. */
  async remove(): Promise<void> {
    this.#said = "";
    this.#told.clear();
    this.#watched = { keys: "", since: 0 };
    const child = this.#child;
    this.#child = undefined;
    if (await this.#exists()) await this.#run(["ip", "link", "del", this.device]);
    child?.kill();
  }

  #isAble(): boolean {
    return this.#way !== undefined && this.#way !== "none";
  }

  async #findWay(): Promise<"kernel" | "program" | "none"> {
    if ((await command(["wg", "--version"])).code !== 0) return "none";
    if (await this.#exists()) {
      // Of an earlier life of the daemon.
      const { stdout } = await this.#run(["ip", "-d", "link", "show", this.device]);
      return /\bwireguard\b/.test(stdout) ? "kernel" : "program";
    }
    const { code } = await this.#run(["ip", "link", "add", this.device, "type", "wireguard"]);
    if (code === 0) {
      await this.#run(["ip", "link", "del", this.device]);
      return "kernel";
    }
    if (!existsSync("/dev/net/tun")) return "none";
    return (await command(["wireguard-go", "--version"])).code === 0 ? "program" : "none";
  }

  async #exists(): Promise<boolean> {
    return (await this.#run(["ip", "link", "show", this.device])).code === 0;
  }

  async #make(): Promise<void> {
    const { clock, log } = this.#o;
    if (this.#way === "kernel") {
      await this.#o.keepSettings(changedByKernel);
      await this.#must(["ip", "link", "add", this.device, "type", "wireguard"]);
      return;
    }
    this.#child?.kill();
    const child = this.#spawn();
    this.#child = child;
    child.once("exit", (code) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      log.warn("wireguard-go has ended, it is started again", { code });
      this.#o.onDown();
    });
    const end = clock.monotonic() + wireguardStartMs;
    while (!(await this.#answers())) {
      if (clock.monotonic() >= end || child.exitCode !== null) {
        throw new ClusterError(
          "unavailable",
          "wireguard-go makes no device: is there /dev/net/tun?",
        );
      }
      await clock.sleep(lookMs);
    }
  }

  async #answers(): Promise<boolean> {
    return (await this.#exists()) && (await this.#run(["wg", "show", this.device])).code === 0;
  }

  #spawn(): ChildProcess {
    const start = () =>
      spawn("wireguard-go", ["-f", this.device], {
        detached: true,
        stdio: "ignore",
        env: {
          ...process.env,
          LOG_LEVEL: "error",
          WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: "1",
        },
      });
    const { host } = this.#o;
    const child = host === undefined ? start() : within(host, start);
    child.on("error", () => undefined); // That no device comes is said.
    child.unref();
    return child;
  }

  /** What the device knows of its peers. */
  async #seen(): Promise<ReadonlyMap<string, SeenPeer>> {
    const { code, stdout } = await this.#run(["wg", "show", this.device, "dump"]);
    return code === 0 ? seenPeers(stdout) : new Map();
  }

  async #configure(
    privateKey: string,
    entries: readonly TunnelEntry[],
    seen: ReadonlyMap<string, SeenPeer>,
  ): Promise<void> {
    const { confFile, clock } = this.#o;
    const nowS = clock.now() / 1000;
    const kept = keptEndpoints({ entries, seen, told: this.#told, nowS });
    const conf = wireguardConf(privateKey, entries, kept);
    mkdirSync(dirname(confFile), { recursive: true, mode: 0o711 });
    // `wg` cannot read it from a socket, which is what Node makes of standard input.
    writeFileSync(confFile, conf, { mode: 0o600 });
    try {
      await this.#must(["wg", "syncconf", this.device, confFile]);
      this.#told = new Map(entries.map(({ key, endpoint }) => [key, endpoint]));
    } finally {
      rmSync(confFile, { force: true });
    }
  }

  #run(words: readonly string[], input = "") {
    return command(words, { file: this.#o.host, input });
  }

  async #must(words: readonly string[], input = ""): Promise<void> {
    const { code, stderr } = await this.#run(words, input);
    if (code === 0) return;
    throw new ClusterError("unavailable", `${words[0]} ${words[1]}: ${stderr.trim()}`);
  }
}
