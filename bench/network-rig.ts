/**
 * Where the network benchmarks are run: a playground of workers with real daemons, their manager in a process whose store is
 * at hand (`network-manager.ts`), and bare namespaces on the same link for what is made by hand.
 *
 * Everything is gone after `down`; bare namespaces end with this process, too, if it is killed.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attach, labAddress } from "../src/playground/lab.ts";
import { Playground } from "../src/playground/playground.ts";
import { dockerClient } from "../test/support/docker.ts";
import { ask } from "../test/support/lab-cluster.ts";
import { until } from "../test/support/wait.ts";
import { Child } from "./child.ts";
import type {
  NetworkManagerRequest,
  RunningService,
  StartedNetworkManager,
  WantedService,
} from "./network-manager.ts";
import { RulesWatch } from "./rules-watch.ts";

const managerPort = 2377;
const image = "skep-bench:1";
const signals = ["SIGINT", "SIGTERM"] as const;

/** The playground and what else runs. */
export class NetworkRig {
  readonly lab: Playground;
  readonly labPid: number;
  readonly manager: Child<NetworkManagerRequest>;
  readonly #folder: string;
  readonly #children: ChildProcess[] = [];
  #markers = 0;
  #end: Promise<void> | undefined;

  /** Ended from outside: as little as ever is left behind. */
  readonly #interrupted = (signal: NodeJS.Signals) => {
    process.stderr.write(`${signal}: removing what was made\n`);
    this.down().finally(() => process.exit(1));
  };

  private constructor(o: { lab: Playground; labPid: number; folder: string }) {
    this.lab = o.lab;
    this.labPid = o.labPid;
    this.#folder = o.folder;
    this.manager = new Child<NetworkManagerRequest>("network-manager", { networkOf: o.labPid });
    for (const signal of signals) process.once(signal, this.#interrupted);
  }

  /** Workers `w1` and so on, in one cluster, with an image that sleeps. */
  static async up(count: number): Promise<NetworkRig> {
    const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
    const nodes = Array.from({ length: count }, (_, position) => `w${position + 1}`);
    const lab = Playground.create({ dir: join(folder, "lab"), nodes });
    let rig: NetworkRig | undefined;
    try {
      await lab.up();
      rig = new NetworkRig({ lab, labPid: lab.labPid() ?? 0, folder });
      await rig.#form(nodes);
      return rig;
    } catch (error) {
      if (rig !== undefined) await rig.down();
      else await remove(lab, folder);
      throw error;
    }
  }

  /** Ends everything and removes it; once, whoever asks for it. */
  down(): Promise<void> {
    this.#end ??= this.#endAll();
    return this.#end;
  }

  async #endAll(): Promise<void> {
    for (const signal of signals) process.off(signal, this.#interrupted);
    for (const child of this.#children) child.kill("SIGKILL");
    await this.manager.ask({ type: "stop" }).catch((error: unknown) => {
      process.stderr.write(`the manager did not stop: ${error}\n`);
    });
    this.manager.end();
    await remove(this.lab, this.#folder);
  }

  /** Starts services and waits until all their tasks run; see `WantedService`. */
  async services(
    wanted: readonly (Pick<WantedService, "name" | "on"> & Partial<WantedService>)[],
  ): Promise<(RunningService & { readonly pid: number })[]> {
    const marked = wanted.map((one) => ({ ...one, marker: this.#marker() }));
    const services = marked.map(({ marker, ...one }) => ({
      ...{ replicas: 1, networks: [], published: {} },
      ...{ program: ["/bin/sleep", marker] },
      ...one,
    }));
    const running = await this.manager.ask<RunningService[]>({ type: "services", services });
    return running.map((one, at) => ({ ...one, pid: pidOf(marked[at]?.marker ?? "") }));
  }

  /** A bare host on the playground's link; its pid. */
  async bareHost(name: string, address: string): Promise<number> {
    const hostPid = await this.bareSpace();
    await attach({ labPid: this.labPid, hostPid, node: name, address, cut: false });
    return hostPid;
  }

  /** A network namespace with nothing in it; the pid of its only process. */
  async bareSpace(): Promise<number> {
    const own = readNetwork(process.pid);
    const words = ["--net", "setpriv", "--pdeathsig", "KILL", "sleep", "infinity"];
    const child = this.follow(spawn("unshare", words, { stdio: "ignore" }));
    const pid = child.pid ?? 0;
    const isApart = () => readNetwork(pid) !== own;
    await until(isApart, { withinMs: 5_000, everyMs: 5, what: "a namespace" });
    return pid;
  }

  /** Ends a process with the rig, at the latest. */
  follow(child: ChildProcess): ChildProcess {
    this.#children.push(child);
    return child;
  }

  /** Tells of the rules of a container from now on. */
  async watch(pid: number): Promise<RulesWatch> {
    const watch = new RulesWatch(`/proc/${pid}/ns/net`);
    this.follow(watch.child);
    await watch.ready;
    return watch;
  }

  /** Resident memory of a node's daemon, megabytes. */
  daemonMb(node: string): number {
    const status = readFileSync(`/proc/${this.lab.node(node).daemonPid}/status`, "utf8");
    return (Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024) / 1e6;
  }

  async #form(nodes: readonly string[]): Promise<void> {
    const listen = { host: labAddress, port: managerPort };
    const started = await this.manager.ask<StartedNetworkManager>({ type: "start", listen });
    const tar = makeImage(this.#folder);
    const client = dockerClient().path;
    for (const name of nodes) {
      const { socket, address } = this.lab.node(name);
      const imported = await this.lab.docker(name, ["import", tar, image], { client });
      if (imported.code !== 0) throw new Error(`docker import: ${imported.stderr}`);
      const body = {
        ListenAddr: "0.0.0.0:2377",
        AdvertiseAddr: address,
        RemoteAddrs: [started.address],
        JoinToken: started.workerToken,
      };
      const answer = await ask(socket, { path: "/swarm/join", body });
      if (answer.status !== 200) throw new Error(`join: ${JSON.stringify(answer.body)}`);
    }
    await this.manager.ask({ type: "nodes", count: nodes.length });
  }

  /** Seconds to sleep, by which a container's process is found. */
  #marker(): string {
    return `${process.pid}${String(++this.#markers).padStart(5, "0")}`;
  }
}

/** Runs lines of `ip` in the network of a process. */
export function ipIn(pid: number, lines: readonly string[]): void {
  const input = `${lines.join("\n")}\n`;
  execFileSync("nsenter", [`--net=/proc/${pid}/ns/net`, "ip", "-batch", "-"], { input });
}

function readNetwork(pid: number): string {
  const options = { encoding: "utf8" } as const;
  return execFileSync("readlink", [`/proc/${pid}/ns/net`], options).trim();
}

/** The process of a container, as this machine sees it. */
function pidOf(marker: string): number {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, "utf8") === `/bin/sleep\0${marker}\0`)
        return Number(name);
    } catch {
      // It has ended meanwhile.
    }
  }
  return 0;
}

/** A root file system with busybox in it, as a tar. */
function makeImage(folder: string): string {
  const root = join(folder, "image");
  mkdirSync(join(root, "bin"), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  symlinkSync("busybox", join(root, "bin/sleep"));
  const tar = join(folder, "image.tar");
  execFileSync("tar", ["-C", root, "-cf", tar, "."]);
  return tar;
}

async function remove(lab: Playground, folder: string): Promise<void> {
  await lab.down();
  rmSync(folder, { recursive: true, force: true });
}
