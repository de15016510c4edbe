/**
 * What an encrypted network shows on the wire, and what forgers can do: two nodes and a stranger on one link, every frame of
 * which is captured. A network that is not encrypted carries the same in the same capture, so that it would be seen.
 */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClusterState } from "../../../../agent/network/cluster-state.ts";
import { makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";
import {
  macOf,
  secureVxlanPort,
  vxlanPort,
  wireguardPort,
} from "../../../../agent/network/pools.ts";
import {
  Driver,
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  NetworkSpec,
  VirtualIp,
} from "../../../../src/common/api/generated/api.ts";
import { Capture, type Frame, withPort, withText } from "../../../support/capture.ts";
import { DataPathNode, inside, meanwhileInside } from "../../../support/data-path-node.ts";
import { batch, forgedFrame, Probe } from "../../../support/network-lab.ts";
import { until } from "../../../support/wait.ts";

const never = new AbortController().signal;
const plain = { id: "net", vni: 4097, prefix: "10.0.1.", prefix6: "fd01::" };
const secret = { id: "sec", vni: 4098, prefix: "10.0.2.", prefix6: "fd02::" };
/** Name of a service in the encrypted network. */
const serviceName = `payroll-${randomBytes(4).toString("hex")}`;
const port = 7000;

function placesOf(number: number): NetworkAttachment[] {
  // Names are looked for in this order.
  return [secret, plain].map(({ id, prefix, prefix6 }) =>
    NetworkAttachment.create({
      networkId: id,
      addresses: [`${prefix}${number}/24`, `${prefix6}${number}/64`],
    }),
  );
}

function stateOf(nodes: readonly DataPathNode[]): ClusterState {
  const encrypted = Driver.create({ name: "overlay", options: { encrypted: "" } });
  const network = (id: string, networkNumber: number, driver: Driver | undefined) =>
    Network.create({ id, networkNumber, spec: NetworkSpec.create({ driver }) });
  const service = NetworkService.create({
    id: "s",
    name: serviceName,
    mode: "vip",
    virtualIps: [VirtualIp.create({ networkId: secret.id, address: `${secret.prefix}100/24` })],
  });
  return {
    self: undefined,
    peers: new Map(nodes.map((node) => [node.peer().nodeId, node.peer()])),
    networks: new Map([
      [plain.id, network(plain.id, plain.vni, undefined)],
      [secret.id, network(secret.id, secret.vni, encrypted)],
    ]),
    services: new Map([["s", service]]),
    endpoints: new Map(
      [1, 2].map((number) => [
        `t${number}`,
        NetworkEndpoint.create({
          id: `t${number}`,
          nodeId: `n${number}`,
          serviceId: number === 2 ? "s" : "",
          ready: true,
          networks: placesOf(number),
        }),
      ]),
    ),
  };
}

describe("an encrypted network", function () {
  this.timeout(300_000);
  const dir = mkdtempSync(join(tmpdir(), "skep-net-"));
  const newNode = (number: number) => new DataPathNode({ dir, number, places: placesOf(number) });
  const [one, two] = [newNode(1), newNode(2)];
  const link = join(dir, "link");
  const stranger = join(dir, "stranger");
  const probes: Probe[] = [];
  const captures: Capture[] = [];
  let capture: Capture;
  let caller: Probe;
  let server: Probe;
  let outside: Probe;

  before(async () => {
    for (const file of [link, one.host, two.host, stranger]) await makeNamespace(file);
    inside(link, ...words("ip link add br0 up type bridge mcast_snooping 0"));
    plug(link, one.host, "one", one.address);
    plug(link, two.host, "two", two.address);
    plug(link, stranger, "stranger", "10.99.0.9");
    for (const node of [one, two]) {
      node.start().claimed();
      await node.network?.open();
    }
    for (const node of [one, two]) node.take(stateOf([one, two]));
    for (const node of [one, two]) await node.network?.join(node.container, never);
    const probe = (space: string) => {
      const made = new Probe(space);
      probes.push(made);
      return made;
    };
    [caller, server, outside] = [probe(one.sandbox), probe(two.sandbox), probe(stranger)];
    await server.serve(port, "two");
    const marker = probe(one.host);
    capture = await Capture.start({
      ...{ space: one.host, device: "eth0", file: join(dir, "frames") },
      // To a port where nobody listens.
      mark: (text) => marker.send({ host: two.address, port: 9, hex: hex(text) }),
    });
    captures.push(capture);
  });

  after(async () => {
    for (const one of captures) await one.stop();
    for (const probe of probes) await probe.end();
    for (const node of [one, two]) await node.remove();
    for (const file of [link, stranger]) await removeNamespace(file);
    rmSync(dir, { recursive: true, force: true });
  });

  /** Sends a text over TCP and UDP, and both families, and has it back. */
  async function sayEverywhere(network: typeof plain, text: string): Promise<void> {
    for (const host of [`${network.prefix}2`, `${network.prefix6}2`]) {
      const stream = await caller.open({ host, port });
      ok((await caller.say(stream, `GET / ${text}-tcp`)).endsWith(`${text}-tcp`));
      const socket = await caller.openUdp(host, port);
      ok((await caller.sayUdp(socket, `${text}-udp`)).endsWith(`${text}-udp`));
    }
  }

  it("shows nothing of what containers say, where one that is not encrypted shows all", async () => {
    const [open, hidden] = [newText(), newText()];
    await sayEverywhere(plain, open);
    await sayEverywhere(secret, hidden);
    const answer = await meanwhileInside(
      one.sandbox,
      ...words(`busybox nslookup ${serviceName} 127.0.0.11`),
    );
    ok(answer.includes(`${secret.prefix}100`), answer);
    ok((await caller.call({ host: `${secret.prefix}100`, port }))[0]?.startsWith("two"));
    const frames = await capture.frames();
    // There and back again, over both families.
    ok(withText(frames, `${open}-tcp`).length >= 4);
    equal(withText(frames, `${open}-udp`).length, 4);
    deepEqual(withText(frames, hidden).map(textOf), []);
    deepEqual(withText(frames, serviceName).map(textOf), []);
    // All that there is beside: the network in clear, and what the capture itself sends.
    const rest = frames.filter(
      (frame) => frame.udpTo !== 0 && frame.udpTo !== 9 && vniOf(frame) !== plain.vni,
    );
    deepEqual(
      rest.filter((frame) => withPort([frame], wireguardPort).length === 0).map(textOf),
      [],
    );
    const secured = withPort(frames, wireguardPort);
    ok(secured.length >= 16, `${secured.length} packets of WireGuard`);
    ok(secured.every(({ payload }) => (payload[0] ?? 0) >= 1 && (payload[0] ?? 0) <= 4));
  });

  describe("delivers no forged frames", () => {
    const forged = (network: typeof plain, text: string) =>
      forgedFrame({
        vni: network.vni,
        mac: macOf(`${network.prefix}2`),
        from: `${network.prefix}1`,
        to: `${network.prefix}2`,
        port,
        text,
      });

    /** Whatever was sent before has been delivered, or never will be. */
    async function afterwards(): Promise<void> {
      const text = newText();
      await outside.send({ host: two.address, port: vxlanPort, hex: forged(plain, text) });
      await until(async () => (await server.heard()).includes(text), {
        withinMs: 60_000,
        what: "a frame forged for the network that is not encrypted comes through",
      });
    }

    before(() => {
      // The stranger has the address of a node: nothing but keys tells them apart.
      const [{ address: mac }] = JSON.parse(
        inside(two.host, ...words("ip -json link show eth0")),
      ) as [{ readonly address: string }];
      batch(stranger, [
        "addr flush dev eth0",
        `addr add ${one.address}/32 dev eth0`,
        `route add ${two.address} dev eth0 src ${one.address}`,
        `neigh replace ${two.address} lladdr ${mac} dev eth0 nud permanent`,
      ]);
    });

    it("in clear, with the address of a node", async () => {
      const [text, dropped] = [newText(), counted(two)];
      for (const to of [secureVxlanPort, vxlanPort, wireguardPort]) {
        await outside.send({ host: two.address, port: to, hex: forged(secret, text) });
      }
      await afterwards();
      equal((await server.heard()).includes(text), false);
      equal(counted(two), dropped + 1);
    });

    it("in packets of WireGuard that were made up, or seen and sent once more", async () => {
      const text = newText();
      const socket = await caller.openUdp(`${secret.prefix}2`, port);
      await caller.sayUdp(socket, text);
      const frames = await capture.frames();
      const seen = frames.filter(
        ({ from, udpTo }) => from === one.address && udpTo === wireguardPort,
      );
      ok(seen.length > 0);
      const made = [1, 2, 3, 4].map((kind) =>
        Buffer.concat([
          Buffer.from([kind, 0, 0, 0]),
          randomBytes([144, 88, 60, 92][kind - 1] ?? 92),
        ]),
      );
      const twisted = seen.slice(-8).map(({ payload }) => {
        const copy = Buffer.from(payload);
        copy[copy.length - 1] = (copy[copy.length - 1] ?? 0) ^ 1;
        return copy;
      });
      for (const payload of [...made, ...seen.map((frame) => frame.payload), ...twisted]) {
        await outside.send({
          host: two.address,
          port: wireguardPort,
          hex: payload.toString("hex"),
        });
      }
      await afterwards();
      equal((await server.heard()).filter((heard) => heard === text).length, 1);
      await sayEverywhere(secret, newText());
    });

    it("of a stranger who has a key that is no node's", async () => {
      const device = `sk${randomBytes(2).toString("hex")}-wg`;
      const key = inside(stranger, "wg", "genkey").trim();
      const conf = join(dir, "stranger.conf");
      const peer = Buffer.from(two.peer().wireguardPublicKey).toString("base64");
      writeFileSync(
        conf,
        `[Interface]\nPrivateKey = ${key}\n[Peer]\nPublicKey = ${peer}\nEndpoint = ${two.address}:${wireguardPort}\nAllowedIPs = 0.0.0.0/0\nPersistentKeepalive = 1\n`,
      );
      inside(stranger, "sh", "-c", `wireguard-go ${device} 2>&1`);
      try {
        inside(stranger, "wg", "setconf", device, conf);
        inside(stranger, "ip", "link", "set", device, "up");
        const sent = () =>
          Number(inside(stranger, "wg", "show", device, "transfer").split("\t")[2]);
        await until(() => sent() >= 148, { withinMs: 60_000, what: "the stranger has asked" });
        await afterwards();
        const [, received] = inside(stranger, "wg", "show", device, "transfer").split("\t");
        equal(received, "0");
      } finally {
        inside(stranger, "ip", "link", "del", device);
      }
    });
  });

  describe("lets nothing out", () => {
    /** Says a text for as long as something lasts, whoever hears it. */
    async function sayDuring(text: string, work: () => Promise<void>): Promise<void> {
      const bytes = hex(`${text} `.repeat(20));
      let isOver = false;
      const saying = (async () => {
        while (!isOver) {
          for (const host of [`${secret.prefix}2`, `${secret.prefix6}2`]) {
            await caller.send({ host, port, hex: bytes }).catch(() => {
              // There is no way there just now.
            });
          }
        }
      })();
      try {
        await work();
      } finally {
        isOver = true;
        await saying;
      }
    }

    async function showsNothing(text: string): Promise<Frame[]> {
      const frames = await capture.frames();
      deepEqual(withText(frames, text).map(textOf), []);
      equal(withPort(frames, secureVxlanPort).length, 0);
      return frames;
    }

    const asks = (network: typeof plain) =>
      meanwhileInside(one.sandbox, ...words(`busybox ping -c1 -W1 ${network.prefix}2`));
    const answers = () =>
      until(() => asks(secret), {
        withinMs: 60_000,
        what: "the tunnel is back",
      });

    it("while the tunnel is down", async () => {
      const text = newText();
      await sayDuring(text, async () => {
        inside(one.host, "ip", "link", "set", one.device("wg"), "down");
        await showsNothing(text);
      });
      await showsNothing(text);
      await one.network?.inspect();
      await answers();
    });

    it("when the program of the tunnel dies, and when it cannot be started again", async function () {
      const pid = programOf(one.device("wg"));
      if (pid === undefined) return this.skip(); // The kernel's own device has no program.
      const text = newText();
      await sayDuring(text, async () => {
        process.kill(pid, "SIGKILL");
        await answers();
      });
      await showsNothing(text);
      const broken = join(dir, "broken");
      mkdirSync(broken);
      writeFileSync(join(broken, "wireguard-go"), "#!/bin/sh\nexit 1\n");
      chmodSync(join(broken, "wireguard-go"), 0o755);
      const path = process.env["PATH"] ?? "";
      process.env["PATH"] = `${broken}:${path}`;
      try {
        await sayDuring(text, async () => {
          process.kill(programOf(one.device("wg")) ?? 0, "SIGKILL");
          await until(() => !hasDevice(one.swarm, `vx${secret.vni}`), {
            withinMs: 60_000,
            what: "there is no tunnel",
          });
          const before = withPort(await showsNothing(text), wireguardPort).length;
          await rejects(asks(secret));
          const after = (await showsNothing(text)).filter(({ from }) => from === one.address);
          ok(withPort(after, wireguardPort).length <= before);
          await asks(plain);
        });
      } finally {
        process.env["PATH"] = path;
      }
      await one.network?.inspect();
      await answers();
      await showsNothing(text);
    });
  });
});

function words(line: string): string[] {
  return line.split(" ");
}

function hex(text: string): string {
  return Buffer.from(text).toString("hex");
}

function newText(): string {
  return `marker${randomBytes(8).toString("hex")}`;
}

function textOf({ from, to, udpTo, bytes }: Frame): string {
  return `${from} > ${to}:${udpTo} ${bytes.toString("latin1").replace(/[^ -~]/g, ".")}`;
}

/** Of VXLAN; -1 for anything else. */
function vniOf({ udpTo, payload }: Frame): number {
  return udpTo !== vxlanPort || payload.length < 8 ? -1 : payload.readUInt32BE(4) >>> 8;
}

function plug(link: string, space: string, name: string, address: string): void {
  batch(link, [
    `link add ${name} type veth peer name eth0 netns ${space}`,
    `link set ${name} master br0 up`,
  ]);
  batch(space, ["link set lo up", "link set eth0 up", `addr add ${address}/24 dev eth0`]);
}

function hasDevice(space: string, name: string): boolean {
  return inside(space, "ip", "-o", "link").includes(`${name}:`);
}

/** What the filter of a node has dropped, in packets. */
function counted(node: DataPathNode): number {
  const text = inside(node.host, "nft", "list", "table", "inet", `skep_${node.instance}_guard`);
  return [...text.matchAll(/counter packets (\d+)/g)].reduce((sum, [, n]) => sum + Number(n), 0);
}

/** The process that serves a device. */
function programOf(device: string): number | undefined {
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      if (line.startsWith("wireguard-go\0") && line.includes(`\0${device}\0`)) return Number(pid);
    } catch {
      // It has ended meanwhile.
    }
  }
  return undefined;
}
