/**
 * The data paths of two nodes in one kernel: network namespaces that are joined by a link, containers that are bare
 * namespaces.
 */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ClusterState, emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { makeNamespace } from "../../../../agent/network/namespace.ts";
import {
  Driver,
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  NetworkSpec,
  PortConfig,
  VirtualIp,
} from "../../../../src/common/api/generated/api.ts";
import { DataPathNode, inside, meanwhileInside, ping } from "../../../support/data-path-node.ts";

const never = new AbortController().signal;
const port = PortConfig.create({ publishMode: "ingress", publishedPort: 8080, targetPort: 80 });
const vip = VirtualIp.create({ networkId: "net", address: "10.0.1.100/24" });
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
  services: new Map([
    ["s", NetworkService.create({ id: "s", name: "web", ports: [port], virtualIps: [vip] })],
  ]),
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

/** Asks for a name twice, and says what came; a refusal comes at once. */
const askTwice = `
  const socket = require("node:dgram").createSocket("udp4");
  const end = (text) => { console.log(text); process.exit(); };
  const ask = (then) => socket.send("a question of enough bytes", () => setTimeout(then, 100));
  socket.on("error", ({ code }) => end(code));
  socket.on("message", () => end("heard"));
  socket.connect(53, "127.0.0.11", () => ask(() => ask(() => end("heard nothing"))));`;

/** Takes connections until its standard input ends. */
const serve = `
  require("node:net").createServer((socket) => socket.end()).listen(90, () => console.log("listening"));
  process.stdin.on("end", () => process.exit()).resume();`;

/** Connects to the service address, and says whom and from which port. */
const call = `
  const socket = require("node:net").connect(90, "10.0.1.100", () => {
    console.log(socket.remoteAddress + " " + socket.localPort);
  });
  socket.on("error", ({ code }) => console.log(code)).on("end", () => process.exit());`;

function peersOf(...nodes: readonly DataPathNode[]): ClusterState["peers"] {
  return new Map(nodes.map((node) => [node.peer().nodeId, node.peer()]));
}

describe("agent/network/node-network on two nodes", function () {
  this.timeout(300_000);
  const dir = mkdtempSync(join(tmpdir(), "skep-net-"));
  const newNode = (number: number) => new DataPathNode({ dir, number, places: placesOf(number) });
  const [one, two] = [newNode(1), newNode(2)];

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
      // A new namespace has the machine's setting.
      inside(node.host, "sysctl", "-q", "-w", "net.ipv4.ip_forward=0");
      node.start().claimed();
      await node.network?.open();
    }
    for (const node of [one, two]) node.take({ ...whole, peers: peersOf(one, two) });
    for (const node of [one, two]) await node.network?.join(node.container, never);
  });

  after(async () => {
    for (const node of [one, two]) await node.remove();
    rmSync(dir, { recursive: true, force: true });
  });

  /** What is listed at each port of an overlay bridge, where frames come in and where they leave. */
  function programsAtPorts(): string[] {
    const links = JSON.parse(inside(one.swarm, "ip", "-json", "link"));
    const ports = links.filter(({ master = "" }) => /^br\d+$/.test(master));
    equal(ports.length, 4);
    return ports.flatMap(({ ifname = "" }) =>
      ["ingress", "egress"].map((side) =>
        inside(one.swarm, "tc", "filter", "show", "dev", ifname, side),
      ),
    );
  }

  it("connects containers of different nodes, over both families and the mesh", () => {
    ok(ping(one.sandbox, "10.0.1.2"));
    ok(ping(two.sandbox, "10.0.1.1"));
    ok(inside(one.sandbox, "busybox", "ping", "-6", "-c1", "-W2", "fd01::2"));
    ok(ping(one.swarm, "10.254.0.2"));
  });

  it("lets frames of overlay networks go past the bridges, by programs at all their ports", () => {
    for (const filters of programsAtPorts()) match(filters, / skep direct-action /);
  });

  it("takes the programs away when the daemon is started without them, and puts them there again", async () => {
    const restart = async () => {
      await one.stop();
      const network = one.start();
      await network.adopted(one.container);
      network.claimed();
      await network.inspect();
    };
    one.shortcuts = false;
    await restart();
    deepEqual([...new Set(programsAtPorts())], [""]);
    ok(ping(one.sandbox, "10.0.1.2"));
    ok(ping(one.sandbox, "10.0.2.2"));
    ok(ping(one.swarm, "10.254.0.2"));
    one.shortcuts = true;
    await restart();
    for (const filters of programsAtPorts()) match(filters, / skep direct-action /);
    ok(ping(one.sandbox, "10.0.1.2"));
  });

  it("sends what is encrypted through the tunnel, and nowhere when that is down", async () => {
    ok(ping(one.sandbox, "10.0.2.2"));
    inside(one.host, "ip", "link", "set", one.device("wg"), "down");
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
    inside(one.host, "ip", "link", "del", one.device("up"));
    inside(one.host, "ip", "link", "del", one.device("wg"));
    inside(one.host, "nft", "flush", "ruleset");
    await one.network?.inspect();
    ok(ping(one.sandbox, "10.0.1.2"));
    ok(ping(one.sandbox, "10.0.2.2"));
    ok(ping(one.sandbox, "10.99.0.1"));
    ok(ping(one.swarm, "10.254.0.2"));
    match(inside(one.host, "nft", "list", "tables"), new RegExp(`skep_${one.instance}_ports`));
  });

  it("makes a container's link anew when its end is gone", async () => {
    inside(one.sandbox, "ip", "link", "del", "ov0");
    await one.network?.inspect();
    ok(ping(one.sandbox, "10.0.1.2"));
  });

  it("leads to service addresses where connections are opened, and by rules while there is no daemon", async () => {
    const servers = [one, two].map(({ sandbox }) => {
      const words = [`--net=${sandbox}`, process.execPath, "-e", serve];
      return spawn("nsenter", words, { stdio: ["pipe", "pipe", "inherit"] });
    });
    for (const { stdout } of servers) await once(stdout, "data");
    const led = async () => {
      const [peer, port] = (await meanwhileInside(one.sandbox, process.execPath, "-e", call))
        .trim()
        .split(" ");
      equal(peer, "10.0.1.100");
      const flows = inside(one.sandbox, "cat", "/proc/net/nf_conntrack");
      return flows.includes(`dst=10.0.1.100 sport=${port} `) ? "by rules" : "by programs";
    };
    const restart = async (shortcuts: boolean) => {
      await one.stop();
      equal(await led(), "by rules");
      one.shortcuts = shortcuts;
      const network = one.start();
      await network.adopted(one.container);
      network.claimed();
      await network.inspect();
    };
    equal(await led(), "by programs");
    await restart(false);
    equal(await led(), "by rules");
    await restart(true);
    equal(await led(), "by programs");
    for (const server of servers) {
      server.stdin.end();
      await once(server, "exit");
    }
  });

  it("changes nothing when another daemon takes over", async () => {
    const said = spawn(
      "nsenter",
      [`--net=${one.sandbox}`, "busybox", "ping", "-A", "-c200", "-w15", "10.0.1.2"],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    let text = "";
    said.stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
    const ended = new Promise((resolve) => said.once("close", resolve));
    const before = inside(one.swarm, "ip", "-o", "link");
    await one.stop();
    // Who asks for a name meanwhile is not refused, and asks again.
    equal(inside(one.sandbox, process.execPath, "-e", askTwice).trim(), "heard nothing");
    const network = one.start();
    await network.adopted(one.container);
    network.claimed();
    await network.inspect();
    equal(inside(one.swarm, "ip", "-o", "link"), before);
    await ended;
    match(text, / 0% packet loss/);
  });

  it("changes nothing after a start until it is known what the node takes part in", async () => {
    const rules = () =>
      [one.host, one.swarm, one.sandbox].map((file) =>
        inside(file, "nft", "--stateless", "list", "ruleset"),
      );
    const before = rules();
    await one.stop();
    let tell: () => void = () => undefined;
    one.known = new Promise((resolve) => {
      tell = resolve;
    });
    one.take(emptyClusterState);
    const network = one.start();
    await network.adopted(one.container);
    const looked = network.inspect();
    await meanwhileInside(one.sandbox, "busybox", "ping", "-c2", "-W2", "10.0.1.2");
    deepEqual(rules(), before);
    one.take({ ...whole, peers: peersOf(one, two) });
    network.claimed();
    tell();
    await looked;
    deepEqual(rules(), before);
    ok(ping(one.sandbox, "10.0.1.2"));
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
