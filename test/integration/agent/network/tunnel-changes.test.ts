/**
 * The tunnels of three nodes, two of which are behind one translation of addresses: who finds whom, what stays when the
 * managers say something new, and open connections while keys change.
 */
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ClusterState } from "../../../../agent/network/cluster-state.ts";
import { makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";
import { textOf } from "../../../../agent/network/wireguard-conf.ts";
import {
  Driver,
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkPeer,
  NetworkSpec,
} from "../../../../src/common/api/generated/api.ts";
import { DataPathNode, inside, meanwhileInside } from "../../../support/data-path-node.ts";
import { batch, Probe, run } from "../../../support/network-lab.ts";
import { until } from "../../../support/wait.ts";

const never = new AbortController().signal;
const outer = "10.99.0.8";
const port = 7000;

const placesOf = (number: number) => [
  NetworkAttachment.create({ networkId: "sec", addresses: [`10.0.2.${number}/24`] }),
];

function stateOf(peers: readonly NetworkPeer[]): ClusterState {
  const driver = Driver.create({ name: "overlay", options: { encrypted: "" } });
  const spec = NetworkSpec.create({ driver });
  return {
    self: undefined,
    peers: new Map(peers.map((peer) => [peer.nodeId, peer])),
    networks: new Map([["sec", Network.create({ id: "sec", networkNumber: 4098, spec })]]),
    services: new Map(),
    endpoints: new Map(
      [1, 2, 3].map((number) => [
        `t${number}`,
        NetworkEndpoint.create({
          id: `t${number}`,
          nodeId: `n${number}`,
          ready: true,
          networks: placesOf(number),
        }),
      ]),
    ),
  };
}

describe("tunnels of nodes behind a translation of addresses", function () {
  this.timeout(300_000);
  const dir = mkdtempSync(join(tmpdir(), "skep-net-"));
  const file = (name: string) => join(dir, name);
  const [link, router, home] = ["link", "router", "home"].map(file) as [string, string, string];
  const hidden = (number: number) =>
    new DataPathNode({
      ...{ dir, number, places: placesOf(number) },
      ...{ address: `192.168.7.${number}`, outerAddress: outer },
    });
  const one = new DataPathNode({ dir, number: 1, places: placesOf(1) });
  const [two, three] = [hidden(2), hidden(3)];
  const nodes = [one, two, three];
  const probes: Probe[] = [];
  let caller: Probe;

  before(async () => {
    for (const space of [link, router, home]) await makeNamespace(space);
    for (const { host } of nodes) await makeNamespace(host);
    for (const space of [link, home])
      batch(space, ["link add br0 up type bridge mcast_snooping 0"]);
    plug(link, { space: one.host, address: one.address, device: "eth0" });
    plug(link, { space: router, address: outer, device: "eth0" });
    plug(home, { space: router, address: "192.168.7.1", device: "eth1" });
    for (const node of [two, three]) {
      plug(home, { space: node.host, address: node.address, device: "eth0" });
      batch(node.host, ["route add default via 192.168.7.1"]);
    }
    run(router, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    const rules = [
      "table ip translate {",
      'chain c_post { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }',
      // Nobody outside reaches a node behind it by speaking first.
      'chain c_forward { type filter hook forward priority 0; iifname "eth0" ct state new drop; }',
      "}",
    ];
    run(router, ["nft", "-f", "-"], `${rules.join("\n")}\n`);
    for (const node of nodes) {
      node.start().claimed();
      await node.network?.open();
    }
    tell();
    for (const node of nodes) await node.network?.join(node.container, never);
    caller = new Probe(one.sandbox);
    const server = new Probe(two.sandbox);
    probes.push(caller, server);
    await server.serve(port, "two");
  });

  after(async () => {
    for (const probe of probes) await probe.end();
    for (const node of nodes) await node.remove();
    for (const space of [link, router, home]) await removeNamespace(space);
    rmSync(dir, { recursive: true, force: true });
  });

  /** The managers tell of the nodes as they are now. */
  function tell(more: readonly NetworkPeer[] = []): void {
    for (const node of nodes) node.take(stateOf([...nodes.map((each) => each.peer()), ...more]));
  }

  /** A node as another one hears of it, and as it does not yet hear of itself. */
  function peerFor(node: DataPathNode, each: DataPathNode): NetworkPeer {
    const peer = each.peer();
    return each === node ? { ...peer, nextWireguardPublicKey: new Uint8Array(0) } : peer;
  }

  async function allReachAll(): Promise<void> {
    for (const node of nodes) {
      for (const number of [1, 2, 3]) {
        await until(() => asks(node, number), {
          withinMs: 60_000,
          what: `${node.address} reaches node ${number}`,
        });
      }
    }
  }

  const asks = (node: DataPathNode, number: number) =>
    meanwhileInside(node.sandbox, "busybox", "ping", "-c1", "-W1", `10.0.2.${number}`);

  /** Endpoints of a node's tunnel by key. */
  function endpoints(node: DataPathNode): Map<string, string> {
    const lines = inside(node.host, "wg", "show", node.device("wg"), "endpoints").trim();
    return new Map(lines.split("\n").map((line) => line.split("\t") as [string, string]));
  }

  const keyOf = (node: DataPathNode) => textOf(node.network?.publicKey() ?? new Uint8Array(0));

  it("reach each other, from both sides", async () => {
    await allReachAll();
    const seen = endpoints(one);
    const ports = [two, three].map((node) => seen.get(keyOf(node))?.replace(`${outer}:`, ""));
    // Both have the same port of their own; outside they are told apart.
    notEqual(ports[0], ports[1]);
    equal(endpoints(two).get(keyOf(three)), `${three.address}:51820`);
    const keepalive = (node: DataPathNode) =>
      inside(node.host, "wg", "show", node.device("wg"), "persistent-keepalive");
    ok(keepalive(two).includes(`${keyOf(one)}\t25`));
    ok(keepalive(one).includes(`${keyOf(two)}\toff`));
  });

  it("keep the ways they have found when the managers tell of others, and over a restart", async () => {
    const before = endpoints(one);
    const stranger = NetworkPeer.create({
      ...{ nodeId: "n9", number: 9, address: "10.99.0.99" },
      wireguardPublicKey: new Uint8Array(32).fill(9),
    });
    tell([stranger]);
    await one.network?.inspect();
    const after = endpoints(one);
    equal(after.size, 3);
    for (const node of [two, three]) equal(after.get(keyOf(node)), before.get(keyOf(node)));
    await one.stop();
    const network = one.start();
    await network.open();
    await network.adopted(one.container);
    network.claimed();
    tell();
    await network.inspect();
    deepEqual(endpoints(one), before);
    await allReachAll();
  });

  describe("keep open connections while the key changes", () => {
    /** Says a line after the other on one connection. @returns What ends that, and tells how much was said and answered. */
    async function talk() {
      const stream = await caller.open({ host: "10.0.2.2", port });
      // With what the server adds it fits into one segment, and so into one answer.
      const line = "x".repeat(1_000);
      let isOver = false;
      let [said, heard, longestMs] = [0, 0, 0];
      const talking = (async () => {
        while (!isOver) {
          const begin = performance.now();
          const answer = await caller.say(stream, line);
          said += line.length;
          heard += answer.split(" ").at(-1)?.length ?? 0;
          longestMs = Math.max(longestMs, performance.now() - begin);
        }
      })();
      return async () => {
        isOver = true;
        await talking;
        return { said, heard, longestMs };
      };
    }

    async function changes(which: readonly DataPathNode[]): Promise<void> {
      const before = which.map(keyOf);
      for (const node of which) node.network?.rotateKey();
      // A node that hears of its own next key may use it soon: by then the others have it, however busy the machine is.
      for (const node of nodes) node.take(stateOf(nodes.map((each) => peerFor(node, each))));
      for (const node of nodes) await node.network?.inspect();
      tell();
      await until(() => which.every((node, i) => keyOf(node) !== before[i]), {
        withinMs: 60_000,
        what: "the key is another one",
      });
      // The others notice by themselves, before the managers tell.
      await allReachAll();
      tell();
      for (const node of nodes) await node.network?.inspect();
      for (const node of nodes) {
        const keys = [...endpoints(node).keys()].sort();
        deepEqual(
          keys,
          nodes
            .filter((other) => other !== node)
            .map(keyOf)
            .sort(),
        );
      }
      await allReachAll();
    }

    for (const [what, which] of [
      ["of one node", () => [two]],
      ["of the other end", () => [one]],
      ["of all nodes at the same time", () => nodes],
    ] as const) {
      it(what, async () => {
        const stop = await talk();
        await changes(which());
        const { said, heard, longestMs } = await stop();
        ok(said > 50_000, `${said} bytes`);
        equal(heard, said);
        console.log(
          `        ${said} bytes there and back, longest pause ${Math.round(longestMs)} ms`,
        );
      });
    }
  });
});

function plug(
  link: string,
  o: { readonly space: string; readonly address: string; readonly device: string },
): void {
  const name = `p${o.address.replaceAll(".", "").slice(-8)}`;
  batch(link, [
    `link add ${name} type veth peer name ${o.device} netns ${o.space}`,
    `link set ${name} master br0 up`,
  ]);
  batch(o.space, [
    "link set lo up",
    `link set ${o.device} up`,
    `addr add ${o.address}/24 dev ${o.device}`,
  ]);
}
