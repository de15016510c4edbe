/**
 * The data paths of two nodes in one kernel: network namespaces that are joined by a link, containers that are bare
 * namespaces.
 */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emptyContainerConfig } from "../../../../agent/exec/containerd/record.ts";
import { type ClusterState, emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";
import { NodeNetwork } from "../../../../agent/network/node-network.ts";
import {
  Driver,
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkPeer,
  NetworkService,
  NetworkSpec,
  PortConfig,
} from "../../../../src/common/api/generated/api.ts";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import type { Container } from "../../../../src/common/container/types.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { systemRandom } from "../../../../src/common/random/random.ts";
import { fakeHost, networksOn } from "../../../support/local-networks.ts";

const never = new AbortController().signal;
const port = PortConfig.create({ publishMode: "ingress", publishedPort: 8080, targetPort: 80 });
const whole: ClusterState = {
  self: undefined,
  peers: new Map(),
  networks: new Map([
    ["net", Network.create({ id: "net", networkNumber: 4097 })],
    [
      "sec",
      Network.create({
        id: "sec",
        networkNumber: 4098,
        spec: NetworkSpec.create({
          driver: Driver.create({ name: "overlay", options: { encrypted: "" } }),
        }),
      }),
    ],
    [
      "ing",
      Network.create({
        id: "ing",
        networkNumber: 4096,
        spec: NetworkSpec.create({ ingress: true }),
      }),
    ],
  ]),
  services: new Map([["s", NetworkService.create({ id: "s", name: "web", ports: [port] })]]),
  endpoints: new Map(
    [1, 2].map((number) => [
      `t${number}`,
      NetworkEndpoint.create({
        id: `t${number}`,
        nodeId: `n${number}`,
        serviceId: "s",
        ready: true,
        networks: placesOf(number),
      }),
    ]),
  ),
};

function placesOf(number: number): NetworkAttachment[] {
  return [
    NetworkAttachment.create({
      networkId: "net",
      addresses: [`10.0.1.${number}/24`, `fd01::${number}/64`],
    }),
    NetworkAttachment.create({ networkId: "sec", addresses: [`10.0.2.${number}/24`] }),
    NetworkAttachment.create({ networkId: "ing", addresses: [`10.255.0.${number}/16`] }),
  ];
}

/** One node: its own network, its data path, one container. */
class TestNode {
  readonly host: string;
  readonly #folder: string;
  readonly #number: number;
  readonly #listeners = new Set<() => void>();
  #state: ClusterState = emptyClusterState;
  #stop = new AbortController();
  #running: Promise<void> | undefined;
  network: NodeNetwork | undefined;

  constructor(dir: string, number: number) {
    this.#folder = join(dir, `netns${number}`);
    this.#number = number;
    this.host = join(dir, `host${number}`);
  }

  get container(): Container {
    const id = `${this.#number}`.repeat(64);
    const joins = placesOf(this.#number).map(({ networkId, addresses }) => ({
      network: networkId,
      addresses,
      aliases: [],
      macAddress: "",
      driverOptions: {},
    }));
    const task = { taskId: `t${this.#number}`, taskName: "", nodeId: "", serviceId: "s" };
    const config = {
      ...emptyContainerConfig,
      networks: ["net", "sec", "ing"],
      joins,
      task: { ...task, serviceName: "web" },
    };
    return { id, name: `c${this.#number}`, config } as unknown as Container;
  }

  get swarm(): string {
    return join(this.#folder, "swarm");
  }

  get sandbox(): string {
    return join(this.#folder, this.container.id);
  }

  get folder(): string {
    return this.#folder;
  }

  start(): NodeNetwork {
    this.#stop = new AbortController();
    const network = new NodeNetwork({
      folder: this.#folder,
      instance: `${this.#number}`.repeat(8),
      host: this.host,
      keyFile: join(this.#folder, "..", `key${this.#number}`),
      local: networksOn(fakeHost()),
      cluster: {
        current: () => this.#state,
        listen: (listener) => {
          const tell = () => listener(this.#state, noChange);
          this.#listeners.add(tell);
          return () => this.#listeners.delete(tell);
        },
      },
      attachments: { attach: () => Promise.reject(new Error("none")), detach: async () => {} },
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
    const nodeId = `n${this.#number}`;
    const wireguardPublicKey = this.network?.publicKey() ?? new Uint8Array(0);
    const address = `10.99.0.${this.#number}`;
    return NetworkPeer.create({ nodeId, number: this.#number, address, wireguardPublicKey });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  take(state: ClusterState): void {
    this.#state = { ...state, self: state.peers.get(`n${this.#number}`) };
    for (const tell of this.#listeners) tell();
  }
}

const noChange = {
  peers: new Set<string>(),
  networks: new Set<string>(),
  services: new Set<string>(),
  endpoints: new Set<string>(),
};

function inside(file: string, ...words: readonly string[]): string {
  return execFileSync("nsenter", [`--net=${file}`, ...words], { encoding: "utf8" });
}

function ping(file: string, address: string): string {
  return inside(file, "busybox", "ping", "-c1", "-W2", address);
}

describe("agent/network/node-network on two nodes", function () {
  this.timeout(20_000);
  const dir = mkdtempSync(join(tmpdir(), "skep-net-"));
  const [one, two] = [new TestNode(dir, 1), new TestNode(dir, 2)];

  before(async () => {
    for (const node of [one, two]) await makeNamespace(node.host);
    inside(
      one.host,
      ...["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0"],
      ...["netns", two.host],
    );
    for (const [position, node] of [one, two].entries()) {
      inside(node.host, "ip", "addr", "add", `10.99.0.${position + 1}/24`, "dev", "eth0");
      for (const device of ["lo", "eth0"]) inside(node.host, "ip", "link", "set", device, "up");
      node.start().claimed();
      await node.network?.open();
    }
    const peers = new Map([one, two].map((node) => [node.peer().nodeId, node.peer()]));
    for (const node of [one, two]) node.take({ ...whole, peers });
    for (const node of [one, two]) await node.network?.join(node.container, never);
  });

  after(async () => {
    for (const node of [one, two]) {
      await node.stop();
      await removeNamespace(node.sandbox);
      await removeNamespace(node.swarm);
      await removeNamespace(node.host);
    }
    rmSync(dir, { recursive: true, force: true });
  });

  it("connects containers of different nodes, over both families and the mesh", () => {
    ok(ping(one.sandbox, "10.0.1.2"));
    ok(ping(two.sandbox, "10.0.1.1"));
    ok(inside(one.sandbox, "busybox", "ping", "-6", "-c1", "-W2", "fd01::2"));
    ok(ping(one.swarm, "10.254.0.2"));
  });

  it("sends what is encrypted through the tunnel, and nowhere when that is down", async () => {
    ok(ping(one.sandbox, "10.0.2.2"));
    inside(one.host, "ip", "link", "set", "sk1111-wg", "down");
    throws(() => ping(one.sandbox, "10.0.2.2"));
    await one.network?.inspect();
    ok(ping(one.sandbox, "10.0.2.2"));
  });

  it("repairs devices, addresses and entries that others took away", async () => {
    inside(one.swarm, "ip", "link", "del", "vx4097");
    inside(
      one.swarm,
      "bridge",
      "fdb",
      "del",
      "02:42:0a:fe:00:02",
      "dev",
      "vx-ing",
      "dst",
      "10.99.0.2",
    );
    inside(one.sandbox, "ip", "addr", "flush", "dev", "ov0");
    inside(one.host, "ip", "link", "del", "sk1111-up");
    inside(one.host, "ip", "link", "del", "sk1111-wg");
    inside(one.host, "nft", "flush", "ruleset");
    await one.network?.inspect();
    ok(ping(one.sandbox, "10.0.1.2"));
    ok(ping(one.sandbox, "10.0.2.2"));
    ok(ping(one.sandbox, "10.99.0.1"));
    ok(ping(one.swarm, "10.254.0.2"));
    match(inside(one.host, "nft", "list", "tables"), /skep_11111111_ports/);
  });

  it("makes a container's link anew when its end is gone", async () => {
    inside(one.sandbox, "ip", "link", "del", "ov0");
    await one.network?.inspect();
    ok(ping(one.sandbox, "10.0.1.2"));
  });

  it("changes nothing when another daemon takes over", async () => {
    const said = spawn(
      "nsenter",
      [`--net=${one.sandbox}`, "busybox", "ping", "-A", "-c200", "-w5", "10.0.1.2"],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    let text = "";
    said.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    const ended = new Promise((resolve) => said.once("close", resolve));
    const before = inside(one.swarm, "ip", "-o", "link");
    await one.stop();
    const network = one.start();
    await network.adopted(one.container);
    network.claimed();
    await network.inspect();
    equal(inside(one.swarm, "ip", "-o", "link"), before);
    await ended;
    match(text, / 0% packet loss/);
  });

  it("leaves nothing when nothing is to be connected any more", async () => {
    for (const node of [one, two]) {
      await node.network?.leave(node.container.id);
      node.take(emptyClusterState);
      await node.stop();
      deepEqual(existsSync(node.folder), false);
      const links = inside(node.host, "ip", "-o", "link");
      equal(/sk\d|vx|br4/.test(links), false, links);
      equal(inside(node.host, "nft", "list", "ruleset"), "");
      equal(inside(node.host, "sysctl", "-n", "net.ipv4.ip_forward").trim(), "0");
    }
  });
});
