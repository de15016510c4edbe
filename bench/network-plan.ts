/**
 * Measures what a change costs one node's data path from the managers' message to the kernel's word, by number of backends:
 * a backend that leaves or comes, and one that is new, whose place in the overlay has to be told to the kernel, too.
 *
 * The data path of a daemon as it is, with one container, in namespaces made for it; nothing else of a daemon runs here.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emptyContainerConfig } from "../agent/exec/containerd/record.ts";
import { makeNamespace, removeNamespace } from "../agent/network/namespace.ts";
import { NodeNetwork } from "../agent/network/node-network.ts";
import { NetworkState } from "../agent/network/state.ts";
import {
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  NetworkUpdate,
  VirtualIp,
} from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import type { Container } from "../src/common/container/types.ts";
import { silentLog } from "../src/common/log/log.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { fakeHost, networksOn } from "../test/support/local-networks.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";
import { RulesWatch } from "./rules-watch.ts";

const never = new AbortController().signal;
const backendCounts = [10, 100, 1_000, 10_000] as const;
const serviceCounts = [1_000] as const;
const pauseMs = 60;
const containerId = "c".repeat(64);

/** `network_change_b1000_ms` and the like. */
export async function run({ quick }: BenchOptions): Promise<BenchResult> {
  const results: Record<string, number> = {};
  const rounds = quick ? 3 : 21;
  for (const backends of backendCounts) {
    const times = await measure({ services: 1, backends, rounds });
    results[`network_change_b${backends}_ms`] = median(times.changes);
    results[`network_new_backend_b${backends}_ms`] = median(times.additions);
  }
  for (const services of serviceCounts) {
    const times = await measure({ services, backends: services, rounds });
    results[`network_change_${services}_services_ms`] = median(times.changes);
    results[`network_new_backend_${services}_services_ms`] = median(times.additions);
  }
  return results;
}

interface Wanted {
  readonly services: number;
  /** In all. */
  readonly backends: number;
  readonly rounds: number;
}

async function measure(wanted: Wanted): Promise<{ changes: number[]; additions: number[] }> {
  const node = new BenchNode();
  try {
    await node.start(wanted);
    const changes: number[] = [];
    const additions: number[] = [];
    for (let round = -1; round < wanted.rounds; round++) {
      const change = await node.say({
        endpoints: [endpointOf(5, wanted.services, (round & 1) === 0)],
      });
      const extra = endpointOf(wanted.backends + round + 1, wanted.services, true);
      const addition = await node.say({ endpoints: [extra] });
      if (round < 0) continue;
      changes.push(change);
      additions.push(addition);
    }
    return { changes, additions };
  } finally {
    await node.stop();
  }
}

/** The data path of a node, and its container. */
class BenchNode {
  readonly #dir = mkdtempSync(join(tmpdir(), "skep-bench-"));
  readonly #host = join(this.#dir, "host");
  readonly #folder = join(this.#dir, "netns");
  readonly #state = new NetworkState({ clock: systemClock, log: silentLog });
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #number = 1;
  #watch: RulesWatch | undefined;

  async start(wanted: Wanted): Promise<void> {
    await makeNamespace(this.#host);
    const lines = [
      "link set lo up",
      "link add eth0 up type bridge",
      "addr add 10.99.0.1/16 dev eth0",
    ];
    execFileSync("nsenter", [`--net=${this.#host}`, "ip", "-batch", "-"], {
      input: `${lines.join("\n")}\n`,
    });
    const entries = new Map<string, Uint8Array>();
    await this.#state.nodeIs("n1", {
      load: async () => entries,
      write: async () => {},
    });
    this.#take({ ...objects(wanted), full: true, first: true, last: true });
    const network = new NodeNetwork({
      folder: this.#folder,
      instance: "bebebebe",
      host: this.#host,
      keyFile: join(this.#dir, "key"),
      local: networksOn(fakeHost()),
      cluster: this.#state,
      attachments: {
        attach: () => Promise.reject(new Error("none")),
        detach: async () => {},
        settled: async () => {},
      },
      shortcuts: true,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    this.#running = network.run(this.#stop.signal);
    network.claimed();
    const joined = await network.join(container(), never);
    if (joined === undefined) throw new Error("the container has no networks");
    this.#watch = new RulesWatch(joined.path);
    await this.#watch.ready;
    await this.#watch.quiet(500);
  }

  /** Milliseconds from the message until packets of the container meet the new rules. */
  async say(update: Partial<NetworkUpdate>): Promise<number> {
    const begin = Number(process.hrtime.bigint()) / 1e6;
    this.#take(update);
    const end = await this.#watch?.after(begin);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    return (end ?? Number.NaN) - begin;
  }

  async stop(): Promise<void> {
    this.#watch?.end();
    this.#stop.abort();
    await this.#running;
    for (const file of [join(this.#folder, containerId), join(this.#folder, "swarm"), this.#host])
      await removeNamespace(file);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #take(update: Partial<NetworkUpdate>): void {
    this.#state.take(NetworkUpdate.create({ ...update, number: this.#number++ }));
  }
}

function objects({ services, backends }: Wanted): Partial<NetworkUpdate> {
  const peers = [1, 2].map((number) =>
    NetworkPeer.create({ nodeId: `n${number}`, number, address: `10.99.0.${number}` }),
  );
  return {
    peers,
    networks: [Network.create({ id: "net", networkNumber: 4097 })],
    services: Array.from({ length: services }, (_, at) =>
      NetworkService.create({
        id: `s${at}`,
        name: `s${at}`,
        virtualIps: [VirtualIp.create({ networkId: "net", address: `${addressOf(at, 60)}/8` })],
      }),
    ),
    endpoints: Array.from({ length: backends }, (_, at) => endpointOf(at, services, true)),
  };
}

function endpointOf(at: number, services: number, ready: boolean): NetworkEndpoint {
  const addresses = [`${addressOf(at, 1)}/8`];
  return NetworkEndpoint.create({
    id: `t${at}`,
    nodeId: "n2",
    serviceId: `s${at % services}`,
    ready,
    networks: [NetworkAttachment.create({ networkId: "net", addresses })],
  });
}

function addressOf(at: number, group: number): string {
  return `10.${group + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`;
}

function container(): Container {
  const join = {
    network: "net",
    addresses: ["10.0.0.9/8"],
    aliases: [],
    macAddress: "",
    driverOptions: {},
  };
  const task = { taskId: "t", taskName: "", nodeId: "n1", serviceId: "", serviceName: "" };
  const config = { ...emptyContainerConfig, networks: ["net"], joins: [join], task };
  return { id: containerId, name: "c", config } as unknown as Container;
}
