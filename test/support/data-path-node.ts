/**
 * The data path of one node in a network namespace, with one container that is a bare namespace, for tests of what nodes
 * send each other. The cluster's state is what the test says.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { emptyContainerConfig } from "../../agent/exec/containerd/record.ts";
import { type ClusterState, emptyClusterState } from "../../agent/network/cluster-state.ts";
import { command, removeNamespace } from "../../agent/network/namespace.ts";
import { NodeNetwork } from "../../agent/network/node-network.ts";
import type { StateListener } from "../../agent/network/state.ts";
import { replaceAll } from "../../agent/network/state-change.ts";
import { type NetworkAttachment, NetworkPeer } from "../../src/common/api/generated/api.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import type { Container } from "../../src/common/container/types.ts";
import { silentLog } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import { fakeHost, networksOn } from "./local-networks.ts";

/** What a node is made with. */
export interface DataPathNodeOptions {
  /** A folder of the test's own. */
  readonly dir: string;
  /** 1 to 9; the node is `n` and this. */
  readonly number: number;
  /** 10.99.0. and its number when undefined. */
  readonly address?: string;
  /** Where others see it, if that is not its address. */
  readonly outerAddress?: string;
  /** Where its container is. */
  readonly places: readonly NetworkAttachment[];
}

/** One node: its own network, its data path, one container. */
export class DataPathNode {
  /** The node's own network. */
  readonly host: string;
  /** Another one in each run: sockets of wireguard-go are the whole machine's. */
  readonly instance = randomBytes(4).toString("hex");
  readonly folder: string;
  readonly address: string;
  readonly #o: DataPathNodeOptions;
  readonly #listeners = new Set<StateListener>();
  #state: ClusterState = emptyClusterState;
  #stop = new AbortController();
  #running: Promise<void> | undefined;
  network: NodeNetwork | undefined;
  /** Whether frames go past bridges from the next start on. */
  shortcuts = true;
  /** Until then the next start waits to be told what the node takes part in. */
  known: Promise<void> = Promise.resolve();

  constructor(options: DataPathNodeOptions) {
    this.#o = options;
    const { dir, number } = options;
    this.folder = join(dir, `netns${number}`);
    this.host = join(dir, `host${number}`);
    this.address = options.address ?? `10.99.0.${number}`;
  }

  get container(): Container {
    const { number, places } = this.#o;
    const id = `${number}`.repeat(64);
    const joins = places.map(({ networkId, addresses }) => ({
      network: networkId,
      addresses,
      aliases: [],
      macAddress: "",
      driverOptions: {},
    }));
    const task = { taskId: `t${number}`, taskName: "", nodeId: "", serviceId: "s" };
    const config = {
      ...emptyContainerConfig,
      networks: places.map(({ networkId }) => networkId),
      joins,
      task: { ...task, serviceName: "web" },
    };
    return { id, name: `c${number}`, config } as unknown as Container;
  }

  /** File of the namespace of the data path. */
  get swarm(): string {
    return join(this.folder, "swarm");
  }

  /** File of the container's namespace. */
  get sandbox(): string {
    return join(this.folder, this.container.id);
  }

  /** Name of the node's link to the data path, or of its tunnel. */
  device(what: "up" | "wg"): string {
    return `sk${this.instance.slice(0, 4)}-${what}`;
  }

  start(): NodeNetwork {
    const { dir, number } = this.#o;
    this.#stop = new AbortController();
    const network = new NodeNetwork({
      folder: this.folder,
      instance: this.instance,
      host: this.host,
      keyFile: join(dir, `key${number}`),
      keyHoldMs: 300,
      local: networksOn(fakeHost()),
      cluster: {
        current: () => this.#state,
        listen: (listener) => {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        },
        known: this.known,
        settledBy: () => {},
      },
      attachments: {
        attach: () => Promise.reject(new Error("none")),
        detach: async () => {},
        settled: async () => {},
      },
      shortcuts: this.shortcuts,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    this.network = network;
    this.#running = network.run(this.#stop.signal);
    return network;
  }

  /** This node as the managers tell of it. */
  peer(): NetworkPeer {
    const { number, outerAddress = "" } = this.#o;
    const none = new Uint8Array(0);
    return NetworkPeer.create({
      nodeId: `n${number}`,
      number,
      address: this.address,
      outerAddress,
      wireguardPublicKey: this.network?.publicKey() ?? none,
      nextWireguardPublicKey: this.network?.nextPublicKey() ?? none,
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  take(state: ClusterState): void {
    const changed = replaceAll(this.#state, state, `n${this.#o.number}`);
    this.#state = changed.state;
    for (const listener of this.#listeners) listener(changed.state, changed.change);
  }

  /** Stops it and takes its namespaces away. */
  async remove(): Promise<void> {
    await this.stop();
    // The program behind a tunnel ends with its device, not with the namespace. Fine where there is none.
    await command(["ip", "link", "del", this.device("wg")], { file: this.host });
    for (const file of [this.sandbox, this.swarm, this.host]) await removeNamespace(file);
  }
}

/** Runs a program in a namespace; its standard output. */
export function inside(file: string, ...words: readonly string[]): string {
  return execFileSync("nsenter", [`--net=${file}`, ...words], { encoding: "utf8" });
}

/** @throws Error when nobody answers. */
export function ping(file: string, address: string): string {
  const six = address.includes(":") ? ["-6"] : [];
  return inside(file, "busybox", "ping", ...six, "-c1", "-W2", address);
}

/** The same while this process goes on with its own: what is asked may be something of this node. */
export async function meanwhileInside(file: string, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await command(words, { file });
  if (code !== 0) throw new Error(`${words.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}
