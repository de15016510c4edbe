/**
 * Streams through a published port that go past tracking, rules and routes: a client behind one node, a server that is a bare
 * namespace on another one. The server sends everything back, so that both directions are looked at.
 */
import { equal, match, ok } from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type ClusterState, emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";
import {
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  NetworkSpec,
  PortConfig,
} from "../../../../src/common/api/generated/api.ts";
import { missedStreamS } from "../../../../src/common/limits/network.ts";
import { DataPathNode, inside } from "../../../support/data-path-node.ts";
import { until } from "../../../support/wait.ts";

const never = new AbortController().signal;
const clientAddress = "10.98.0.2";
const entrance = "10.98.0.1";
const placesOf = (number: number) => [
  NetworkAttachment.create({ networkId: "ing", addresses: [`10.255.0.${number}/16`] }),
];
const port = PortConfig.create({ publishMode: "ingress", publishedPort: 8080, targetPort: 80 });

/** Sends everything back; says from where it is called. */
const serve = `
  require("node:net").createServer((socket) => {
    console.log("from " + socket.remoteAddress);
    socket.on("error", () => {}).pipe(socket);
  }).listen(80, "0.0.0.0", () => console.log("listening"));
  process.stdin.on("end", () => process.exit()).resume();`;

/** Sends until its standard input says how to end; says whether all came back, and from which port it called. */
const send = `
  const { createHash, randomBytes } = require("node:crypto");
  const block = randomBytes(1 << 18);
  const [out, back] = [createHash("sha1"), createHash("sha1")];
  let [sent, came, ending] = [0, 0, ""];
  const end = (text) => { console.log(text); process.exit(); };
  const socket = require("node:net").connect(8080, "${entrance}", () => {
    console.log("connected " + socket.localPort);
    more();
  });
  const more = () => {
    if (ending !== "") return done();
    sent += block.length;
    out.update(block);
    socket.write(block, more);
  };
  const done = () => {
    if (came !== sent) return;
    const same = out.digest("hex") === back.digest("hex") ? "all came back" : "not what was sent";
    socket.removeAllListeners("close").on("close", () => end(same));
    if (ending === "end") socket.end();
    else socket.resetAndDestroy();
  };
  socket.on("data", (data) => {
    back.update(data);
    came += data.length;
    if (ending !== "") done();
  });
  socket.on("error", ({ code }) => end(code)).on("close", () => end("closed"));
  process.stdin.on("data", (data) => { ending = String(data).trim(); });`;

/** What a program in a namespace says, line by line. */
class Talker {
  readonly lines: string[] = [];
  readonly child: ChildProcessWithoutNullStreams;

  constructor(file: string, script: string) {
    this.child = spawn("nsenter", [`--net=${file}`, process.execPath, "-e", script]);
    this.child.stderr.pipe(process.stderr);
    createInterface(this.child.stdout).on("line", (line) => this.lines.push(line));
  }

  /** The last line that begins so. */
  says(begin: string): Promise<string> {
    const found = () => this.lines.findLast((line) => line.startsWith(begin));
    return until(found, { withinMs: 60_000, what: `${begin} among ${this.lines}` });
  }
}

describe("agent/network/bypass", () => {
  const dir = mkdtempSync(join(tmpdir(), "skep-streams-"));
  const newNode = (number: number) => new DataPathNode({ dir, number, places: placesOf(number) });
  const [one, two] = [newNode(1), newNode(2)];
  const client = join(dir, "client");
  let server: Talker;
  const talkers: Talker[] = [];

  before(async () => {
    for (const file of [one.host, two.host, client]) await makeNamespace(file);
    link(one.host, "eth0 10.99.0.1/24", two.host, "eth0 10.99.0.2/24");
    link(one.host, `eth1 ${entrance}/24`, client, `eth0 ${clientAddress}/24`);
    for (const node of [one, two]) {
      node.start().claimed();
      await node.network?.open();
    }
    tell(true);
    for (const node of [one, two]) await node.network?.join(node.container, never);
    server = new Talker(two.sandbox, serve);
    await server.says("listening");
  });

  afterEach(() => {
    for (const { child } of talkers.splice(0)) child.kill();
  });

  after(async () => {
    server.child.stdin.end();
    await once(server.child, "exit");
    for (const node of [one, two]) await node.remove();
    await removeNamespace(client);
    rmSync(dir, { recursive: true, force: true });
  });

  /** What the managers say: whether the only server takes connections. */
  function tell(ready: boolean): void {
    for (const node of [one, two]) node.take(clusterWith(ready, [one, two]));
  }

  async function open(): Promise<Talker & { readonly port: string }> {
    const talker = new Talker(client, send);
    talkers.push(talker);
    const [, localPort = ""] = (await talker.says("connected")).split(" ");
    return Object.assign(talker, { port: localPort });
  }

  async function close(stream: Talker, how: "end" | "reset"): Promise<void> {
    stream.child.stdin.write(`${how}\n`);
    await once(stream.child, "exit");
    equal(stream.lines.at(-1), "all came back");
  }

  const come = (file: string, device: string) => {
    const [found] = JSON.parse(inside(file, "ip", "-json", "-s", "link", "show", device));
    return found.stats64.rx.packets as number;
  };
  /** How many packets pass the rules of a node's data path for each that comes in at a device, in both directions. */
  async function share(node: DataPathNode, device: string): Promise<number> {
    nft(node.swarm, "add table inet seen");
    nft(node.swarm, "add chain inet seen c_all { type filter hook forward priority 5; }");
    nft(node.swarm, "add rule inet seen c_all tcp sport != 1 counter");
    const before = come(node.swarm, device);
    const came = () => come(node.swarm, device) - before;
    const all = await until(() => (came() >= 500 ? came() : undefined), {
      withinMs: 60_000,
      what: "packets come in",
    });
    const rules = inside(node.swarm, "nft", "list", "table", "inet", "seen");
    nft(node.swarm, "delete table inet seen");
    return Number(/packets (\d+)/.exec(rules)?.[1]) / all;
  }

  /** Streams do so once they carry much; on a busy machine that may take a moment. */
  async function goesPast(node: DataPathNode, device: string): Promise<void> {
    const most = async () => (await share(node, device)) < 0.5;
    await until(most, { withinMs: 60_000, what: `packets go past the rules behind ${device}` });
  }

  const setting = (name: string) =>
    inside(one.swarm, "sysctl", "-n", `net.netfilter.nf_conntrack_tcp_${name}`).trim();
  const programs = (device: string) =>
    ["ingress", "egress"].flatMap(
      (side) =>
        inside(one.swarm, "tc", "filter", "show", "dev", device, side).match(/ skep /g) ?? [],
    ).length;
  /** Seconds for which tracking keeps the stream in the data path of the first node, if nothing comes. */
  const kept = (localPort: string) => {
    const flows = inside(one.swarm, "cat", "/proc/net/nf_conntrack").split("\n");
    const flow = flows.find((line) => line.includes(` sport=${localPort} dport=8080 `));
    return Number(/tcp +6 (\d+) /.exec(flow ?? "")?.[1] ?? 0);
  };

  it("lets streams past the rules of both nodes, whole and with the client's own address", async () => {
    const stream = await open();
    match(await server.says("from"), new RegExp(clientAddress));
    await goesPast(one, "up0");
    await goesPast(two, "vx-ing");
    await close(stream, "end");
    const left = kept(stream.port);
    ok(left <= 120, `${left} s`);
  });

  it("ends what tracking knows of a stream that is reset", async () => {
    const stream = await open();
    await goesPast(one, "up0");
    const before = kept(stream.port);
    ok(before > 1_000, `${before} s`);
    await close(stream, "reset");
    const left = kept(stream.port);
    ok(left <= 10, `${left} s`);
  });

  /** Nothing of a stream arrives while a rule is there that drops it. */
  async function obeysRule(): Promise<void> {
    nft(one.swarm, "add table inet closed");
    nft(one.swarm, "add chain inet closed c_all { type filter hook forward priority 5; }");
    nft(one.swarm, "add rule inet closed c_all tcp dport 80 drop");
    const stands = async () => {
      const before = come(two.sandbox, "ethg");
      await new Promise((resolve) => setTimeout(resolve, 400));
      return come(two.sandbox, "ethg") === before;
    };
    await until(stands, { withinMs: 60_000, what: "nothing arrives" });
    nft(one.swarm, "delete table inet closed");
  }

  it("obeys a rule that is added under a stream, and goes on without it", async () => {
    const stream = await open();
    await goesPast(one, "up0");
    await obeysRule();
    await goesPast(one, "up0");
    await close(stream, "end");
  });

  it("does so while there is no daemon", async () => {
    const stream = await open();
    await goesPast(one, "up0");
    await one.stop();
    await goesPast(one, "up0");
    await obeysRule();
    await goesPast(one, "up0");
    await begin();
    await close(stream, "end");
  });

  it("goes on to a server that takes nobody new, and leads nobody else there", async () => {
    const stream = await open();
    await goesPast(one, "up0");
    tell(false);
    await one.network?.inspect();
    await goesPast(one, "up0");
    const refused = new Talker(client, send);
    await once(refused.child, "exit");
    equal(refused.lines.at(-1), "ECONNREFUSED");
    await close(stream, "end");
    tell(true);
    await one.network?.inspect();
  });

  it("tells the client of packets that do not fit any more", async () => {
    const stream = await open();
    await goesPast(one, "up0");
    const way = () => inside(client, "ip", "route", "get", entrance);
    equal(/ mtu (\d+)/.exec(way()), null);
    const [{ mtu }] = JSON.parse(inside(one.swarm, "ip", "-json", "link", "show", "vx-ing"));
    inside(one.swarm, "ip", "link", "set", "vx-ing", "mtu", "1300");
    await until(() => / mtu 1300/.test(way()), { withinMs: 60_000, what: "the client is told" });
    await goesPast(one, "up0");
    await close(stream, "end");
    inside(one.swarm, "ip", "link", "set", "vx-ing", "mtu", String(mtu));
    inside(client, "ip", "route", "flush", "cache");
  });

  it("has rules lead everything when the daemon is started without it, and cuts no stream", async () => {
    const stream = await open();
    await goesPast(one, "up0");
    for (const device of ["up0", "vx-ing"]) equal(programs(device), 2);
    equal(setting("be_liberal"), "1");
    equal(setting("timeout_unacknowledged"), `${missedStreamS}`);
    await restart(false);
    ok((await share(one, "up0")) > 0.9);
    for (const device of ["up0", "vx-ing"]) equal(programs(device), 0);
    await restart(true);
    await goesPast(one, "up0");
    await close(stream, "end");
  });

  async function restart(shortcuts: boolean): Promise<void> {
    await one.stop();
    one.shortcuts = shortcuts;
    await begin();
  }

  async function begin(): Promise<void> {
    const network = one.start();
    await network.adopted(one.container);
    network.claimed();
    await network.inspect();
  }
});

function clusterWith(ready: boolean, nodes: readonly DataPathNode[]): ClusterState {
  const spec = NetworkSpec.create({ ingress: true });
  const endpoint = NetworkEndpoint.create({
    ...{ id: "t2", nodeId: "n2", serviceId: "s", ready, networks: placesOf(2) },
  });
  return {
    ...emptyClusterState,
    peers: new Map(nodes.map((node) => [node.peer().nodeId, node.peer()])),
    networks: new Map([["ing", Network.create({ id: "ing", networkNumber: 4096, spec })]]),
    services: new Map([["s", NetworkService.create({ id: "s", name: "web", ports: [port] })]]),
    endpoints: new Map([["t2", endpoint]]),
  };
}

/** Joins two namespaces by devices, each given as its name and address. */
function link(file: string, here: string, otherFile: string, there: string): void {
  const [[device = "", address = ""], [peer = "", peerAddress = ""]] = [here, there].map((end) =>
    end.split(" "),
  ) as [string[], string[]];
  const ends = `${device} type veth peer name ${peer} netns ${otherFile}`;
  inside(file, ...`ip link add ${ends}`.split(" "));
  for (const [at, name, own] of [
    [file, device, address],
    [otherFile, peer, peerAddress],
  ] as const) {
    inside(at, "ip", "addr", "add", own, "dev", name);
    for (const up of ["lo", name]) inside(at, "ip", "link", "set", up, "up");
  }
}

function nft(file: string, text: string): void {
  execFileSync("nsenter", [`--net=${file}`, "nft", "-f", "-"], { input: `${text}\n` });
}
