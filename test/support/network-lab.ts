/**
 * Hosts, tasks and an outside client as bare network namespaces with the devices of the data path (network.md 2 and 5.2), for
 * tests of rules: a link, three hosts on it, each with its namespace of the data path and one task, and a client.
 *
 * Namespaces are kept by files of a temporary folder; nothing has a name that another run could have.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  ingress6Of,
  macOf,
  meshVni,
  transitAddress,
  transitAddress6,
  transitMac,
  vxlanPort,
} from "../../agent/network/pools.ts";
import type { ProbeCall, ProbeRequest } from "./network-probe.ts";

/** One host with its task; the lab has numbers 1 to 3. */
export interface LabHost {
  readonly number: number;
  readonly address: string;
  readonly address6: string;
  /** Files of the host's namespace, that of its data path, and its task's. */
  readonly host: string;
  readonly swarm: string;
  readonly task: string;
  /** The task's address in the mesh. */
  readonly mesh: string;
  /** The task's addresses in the overlay network. */
  readonly overlay: readonly string[];
  readonly overlay6: string;
}

/** VXLAN network id of the overlay network. */
export const labVni = 4097;
/** The outside client's addresses. */
export const labClient = { address: "10.99.0.101", address6: "fd99::101" } as const;

/** The namespaces and the probes in them. */
export class NetworkLab {
  #folder = "";
  client = "";
  hosts: readonly LabHost[] = [];
  readonly #spaces: string[] = [];
  readonly #probes: Probe[] = [];

  /** Once; whatever there is goes with `remove`, also when it fails. */
  build(): readonly [LabHost, LabHost, LabHost] {
    this.#folder = mkdtempSync(join(tmpdir(), "skep-rules-"));
    const link = this.#space("link");
    run(link, ["ip", "link", "add", "br0", "up", "type", "bridge", "mcast_snooping", "0"]);
    this.client = this.#space("client");
    this.#plug(this.client, { link, port: "client", ...labClient });
    const hosts = [this.#host(link, 1), this.#host(link, 2), this.#host(link, 3)] as const;
    this.hosts = hosts;
    for (const here of hosts) {
      for (const there of hosts) if (there !== here) connectHosts(here, there);
    }
    return hosts;
  }

  /** A process in the namespace. */
  async probe(space: string): Promise<Probe> {
    const probe = new Probe(space);
    this.#probes.push(probe);
    return probe;
  }

  /** Ends the probes and takes everything away. */
  async remove(): Promise<void> {
    await Promise.all(this.#probes.map((probe) => probe.end()));
    for (const space of this.#spaces) execFileSync("umount", [space]);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #space(name: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, "");
    execFileSync("unshare", [`--net=${path}`, "ip", "link", "set", "lo", "up"]);
    this.#spaces.push(path);
    return path;
  }

  #plug(space: string, o: { link: string; port: string; address: string; address6: string }): void {
    batch(o.link, [
      `link add ${o.port} type veth peer name eth0 netns ${space}`,
      `link set ${o.port} master br0 up`,
    ]);
    batch(space, [
      "link set eth0 up",
      `addr add ${o.address}/24 dev eth0`,
      `addr add ${o.address6}/64 dev eth0 nodad`,
    ]);
  }

  #host(link: string, number: number): LabHost {
    const host: LabHost = {
      number,
      address: `10.99.0.${number}`,
      address6: `fd99::${number}`,
      host: this.#space(`host${number}`),
      swarm: this.#space(`swarm${number}`),
      task: this.#space(`task${number}`),
      mesh: `10.255.0.${number}`,
      overlay: [1, 2, 3, 4].map((n) => `10.0.1.${number}${n}`),
      overlay6: `fd01::${number}1`,
    };
    this.#plug(host.host, { link, port: `host${number}`, ...host });
    makeSwarm(host);
    makeTask(host);
    return host;
  }
}

/** A process that listens, calls and sends in one namespace. */
export class Probe {
  readonly #child: ChildProcess;
  readonly #calls = new Map<
    number,
    { resolve: (value: never) => void; reject: (e: Error) => void }
  >();
  #last = 0;

  constructor(space: string) {
    const script = fileURLToPath(new URL("network-probe.js", import.meta.url));
    this.#child = spawn("nsenter", [`--net=${space}`, process.execPath, script], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child.on("message", (message: { id: number; value?: unknown; error?: string }) => {
      const call = this.#calls.get(message.id);
      this.#calls.delete(message.id);
      if (message.error !== undefined) call?.reject(new Error(message.error));
      else call?.resolve(message.value as never);
    });
    this.#child.on("exit", () => {
      for (const call of this.#calls.values()) call.reject(new Error("the probe ended"));
    });
  }

  /** Listens on TCP and UDP of both families. */
  serve(port: number, name: string): Promise<void> {
    return this.#ask({ what: "serve", port, name });
  }

  /** The answers, or the codes of errors: name, caller's address, caller's port, own address (`-` over UDP), line. */
  call(call: Partial<ProbeCall> & Pick<ProbeCall, "host" | "port">): Promise<readonly string[]> {
    return this.#ask({
      what: "call",
      call: { protocol: "tcp", localPort: 0, count: 1, ...call },
    });
  }

  /** A stream that stays; its number. */
  open(call: Partial<ProbeCall> & Pick<ProbeCall, "host" | "port">): Promise<number> {
    return this.#ask({
      what: "open",
      call: { protocol: "tcp", localPort: 0, count: 1, ...call },
    });
  }

  /** What a stream answers to a line. */
  say(stream: number, line: string): Promise<string> {
    return this.#ask({ what: "say", stream, line });
  }

  /** Who is at the other end of a stream, as its program is told. */
  peer(stream: number): Promise<string> {
    return this.#ask({ what: "peer", stream });
  }

  /** A UDP socket that stays connected; its number. */
  openUdp(host: string, port: number): Promise<number> {
    return this.#ask({ what: "openUdp", host, port });
  }

  /** What is answered to a datagram. */
  sayUdp(stream: number, line: string): Promise<string> {
    return this.#ask({ what: "sayUdp", stream, line });
  }

  /** One datagram of these bytes. */
  send(o: { readonly host: string; readonly port: number; readonly hex: string }): Promise<void> {
    return this.#ask({ what: "send", ...o });
  }

  /** All datagrams its server has had. */
  heard(): Promise<readonly string[]> {
    return this.#ask({ what: "heard" });
  }

  async end(): Promise<void> {
    if (!this.#child.connected) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.disconnect();
    await ended;
  }

  #ask<T>(request: ProbeRequest): Promise<T> {
    const id = ++this.#last;
    return new Promise<T>((resolve, reject) => {
      this.#calls.set(id, { resolve: resolve as (value: never) => void, reject });
      this.#child.send({ id, request });
    });
  }
}

/** Runs a command in a namespace; its standard output. */
export function run(space: string, command: readonly string[], input = ""): string {
  return execFileSync("nsenter", [`--net=${space}`, ...command], {
    input,
    encoding: "utf8",
    stdio: ["pipe", "pipe", "inherit"],
  });
}

/** Lines for `ip -batch -` in a namespace. */
export function batch(space: string, lines: readonly string[], family?: string): void {
  const of = family === undefined ? [] : [family];
  run(space, ["ip", ...of, "-batch", "-"], `${lines.join("\n")}\n`);
}

/**
 * A UDP datagram inside a frame inside VXLAN, in hexadecimal digits, as somebody would forge it.
 *
 * Its checksums are right or left out, so that only a filter stands between it and the task.
 */
export function forgedFrame(o: {
  readonly vni: number;
  readonly mac: string;
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly text: string;
}): string {
  const text = Buffer.from(o.text);
  const vxlan = Buffer.alloc(8);
  vxlan.writeUInt32BE(0x08000000, 0);
  vxlan.writeUInt32BE(o.vni * 256, 4);
  const ethernet = Buffer.from(`${o.mac.replaceAll(":", "")}0242deadbeef0800`, "hex");
  const ip = Buffer.alloc(20);
  ip.writeUInt16BE(0x4500, 0);
  ip.writeUInt16BE(28 + text.length, 2);
  ip.writeUInt16BE(0x4011, 8);
  Buffer.from(o.from.split(".").map(Number)).copy(ip, 12);
  Buffer.from(o.to.split(".").map(Number)).copy(ip, 16);
  ip.writeUInt16BE(checksum(ip), 10);
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(9, 0);
  udp.writeUInt16BE(o.port, 2);
  udp.writeUInt16BE(8 + text.length, 4);
  return Buffer.concat([vxlan, ethernet, ip, udp, text]).toString("hex");
}

function checksum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function makeSwarm({ number, host, swarm, address }: LabHost): void {
  run(host, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
  const off = ["all", "default"].flatMap((what) => [
    `net.ipv4.conf.${what}.rp_filter=0`,
    `net.ipv4.conf.${what}.send_redirects=0`,
  ]);
  const on = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
  run(swarm, ["sysctl", "-qw", ...on, ...off]);
  const vxlan = `dstport ${vxlanPort} nolearning proxy`;
  batch(host, [
    `link add sw-up type veth peer name up0 netns ${swarm}`,
    "addr add 172.19.0.1/30 dev sw-up",
    "addr add fd19::1/64 dev sw-up nodad",
    "link set sw-up up",
    `link add vx-ing netns ${swarm} address ${transitMac(number)} type vxlan id ${meshVni} local ${address} ${vxlan}`,
    `link add vx-ov netns ${swarm} type vxlan id ${labVni} local ${address} ${vxlan}`,
  ]);
  run(host, ["sysctl", "-qw", "net.ipv4.conf.sw-up.route_localnet=1"]);
  batch(swarm, [
    "addr add 172.19.0.2/30 dev up0",
    "addr add fd19::2/64 dev up0 nodad",
    "link set up0 up",
    "route add default via 172.19.0.1",
    "route add default via fd19::1",
    "link add gw0 up type bridge mcast_snooping 0",
    "addr add 172.18.0.1/16 dev gw0",
    "addr add fd18::1/64 dev gw0 nodad",
    `addr add ${transitAddress(number)}/16 dev vx-ing`,
    `addr add ${transitAddress6(number)}/64 dev vx-ing nodad`,
    "link set vx-ing mtu 1450 up",
    "link add br-ov mtu 1450 up type bridge mcast_snooping 0",
    "link set vx-ov mtu 1450 master br-ov up",
  ]);
  batch(host, [
    "route add 10.255.0.0/16 via 172.19.0.2",
    "route add 172.18.0.0/16 via 172.19.0.2",
    "route add fd55::/64 via fd19::2",
  ]);
}

function makeTask({ swarm, task, mesh, overlay, overlay6 }: LabHost): void {
  const mesh6 = ingress6Of(mesh);
  batch(swarm, [
    `link add p-gw type veth peer name ethg netns ${task}`,
    "link set p-gw master gw0 up",
    "link set p-gw type bridge_slave hairpin on",
    `link add p-ov mtu 1450 type veth peer name ov0 mtu 1450 address ${macOf(overlay[0] ?? "")} netns ${task}`,
    "link set p-ov master br-ov up",
    `route add ${mesh}/32 dev gw0`,
    `route add ${mesh6}/128 dev gw0`,
  ]);
  batch(task, [
    "link set ethg up",
    "link set ov0 up",
    `addr add ${mesh}/32 dev ethg`,
    `addr add ${mesh6}/128 dev ethg nodad`,
    `route add 172.18.0.1 dev ethg scope link src ${mesh}`,
    `route add default via 172.18.0.1 dev ethg src ${mesh}`,
    `route add fd18::1 dev ethg src ${mesh6}`,
    `route add default via fd18::1 dev ethg src ${mesh6}`,
    ...overlay.map((address) => `addr add ${address}/24 dev ov0`),
    `addr add ${overlay6}/64 dev ov0 nodad`,
  ]);
  run(task, ["sysctl", "-qw", "net.ipv4.conf.ethg.route_localnet=1"]);
}

/** What `here` has to know of `there`. */
function connectHosts(here: LabHost, there: LabHost): void {
  const mac = transitMac(there.number);
  const taskMac = macOf(there.overlay[0] ?? "");
  const [next, next6] = [transitAddress(there.number), transitAddress6(there.number)];
  const table = 1_000 + there.number;
  batch(here.swarm, [
    `neigh replace ${next} lladdr ${mac} dev vx-ing nud permanent`,
    `neigh replace ${next6} lladdr ${mac} dev vx-ing nud permanent`,
    `route replace default via ${next} dev vx-ing table ${table}`,
    `route replace default via ${next6} dev vx-ing table ${table}`,
    `route replace ${there.mesh}/32 via ${next} dev vx-ing`,
    `route replace ${ingress6Of(there.mesh)}/128 via ${next6} dev vx-ing`,
    ...[...there.overlay, there.overlay6].map(
      (address) => `neigh replace ${address} lladdr ${taskMac} dev vx-ov nud permanent`,
    ),
  ]);
  const rule = `rule add pref ${table} fwmark ${there.number}/0xffff lookup ${table}`;
  for (const family of ["-4", "-6"]) batch(here.swarm, [rule], family);
  const fdb = [
    `fdb append ${mac} dev vx-ing dst ${there.address} self permanent`,
    `fdb replace ${taskMac} dev vx-ov dst ${there.address} self permanent`,
    `fdb replace ${taskMac} dev vx-ov master static`,
  ];
  run(here.swarm, ["bridge", "-batch", "-"], `${fdb.join("\n")}\n`);
}
