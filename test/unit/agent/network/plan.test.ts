/**
 * Golden lines: what a plan becomes as batches for `ip` and `bridge`, and what changes of it touch.
 */
import { deepEqual, equal } from "node:assert/strict";
import { type ClusterState, emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { diff, isNothing, type Steps } from "../../../../agent/network/diff.ts";
import { emptySpace, type Plan, swarmSpace } from "../../../../agent/network/model.ts";
import { type PlanInput, plan } from "../../../../agent/network/plan.ts";
import { uplinkOf } from "../../../../agent/network/pools.ts";
import type { OverlayPlace, Sandbox } from "../../../../agent/network/sandbox.ts";
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

const task = "a".repeat(64);
const other = "b".repeat(64);

const sandbox: Sandbox = {
  id: task,
  taskId: "t1",
  name: "one",
  resolvers: [],
  gateway: { address: "10.255.0.7", address6: "fd55::aff:7", outward: true },
  overlays: [
    {
      networkId: "net",
      vni: 4097,
      addresses: [{ address: "10.0.1.5", length: 24 }],
      mac: "02:42:0a:00:01:05",
      mtu: 0,
      encrypted: false,
    },
  ],
  bridges: [],
};

const peer = (id: string, number: number) =>
  NetworkPeer.create({ nodeId: id, number, address: `192.0.2.${number}` });

const cluster: ClusterState = {
  self: peer("n1", 1),
  peers: new Map([1, 2].map((number) => [`n${number}`, peer(`n${number}`, number)])),
  networks: new Map([
    ["net", Network.create({ id: "net", networkNumber: 4097 })],
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
    [
      "s",
      NetworkService.create({
        id: "s",
        ports: [PortConfig.create({ publishMode: "ingress", publishedPort: 80 })],
      }),
    ],
  ]),
  endpoints: new Map([
    ["t1", endpoint("t1", "n1", "10.0.1.5/24", "10.255.0.7/16")],
    ["t2", endpoint("t2", "n2", "10.0.1.6/24", "10.255.0.8/16")],
  ]),
};

function endpoint(id: string, nodeId: string, overlay: string, mesh?: string): NetworkEndpoint {
  return NetworkEndpoint.create({
    id,
    nodeId,
    networks: [
      NetworkAttachment.create({ networkId: "net", addresses: [overlay] }),
      ...(mesh === undefined
        ? []
        : [NetworkAttachment.create({ networkId: "ing", addresses: [mesh] })]),
    ],
  });
}

const input: PlanInput = {
  instance: "0123456789",
  uplink: uplinkOf(0),
  underlay: { device: "eth0", address: "192.0.2.1", mtu: 1500 },
  secure: undefined,
  ipv6: false,
  cluster,
  sandboxes: [sandbox],
  bridges: [],
  bound: new Set(),
};

const swarmOf = (of: Plan) => of.get(swarmSpace) ?? emptySpace;

const steps = (before: Plan, after: Plan) =>
  diff(before, after, (space) => (space === "host" ? undefined : `/ns/${space.slice(0, 5)}`));

const text = ({ batches }: Steps) =>
  batches.map(({ space, tool, lines }) => [
    `${space.slice(0, 5)} ${tool}`,
    ...lines.map((line) => line.text),
  ]);

const everything = [
  ["host ip", "link add sk0123-up mtu 1500 type veth peer name up0 mtu 1500 netns /ns/swarm"],
  [
    "swarm ip",
    "link add gw0 mtu 1500 address 02:42:ac:12:00:01 type bridge mcast_snooping 0",
    "link add gaaaaaaaaaaaa mtu 1500 type veth peer name ethg mtu 1500 netns /ns/aaaaa",
    "link add br4097 mtu 1450 type bridge mcast_snooping 0",
    "link add o0-aaaaaaaaaa mtu 1450 type veth peer name ov0 mtu 1450 netns /ns/aaaaa",
  ],
  [
    "host ip",
    "link add vx4097 netns /ns/swarm mtu 1450 type vxlan id 4097 local 192.0.2.1 dstport 4789 nolearning proxy",
    "link add vx-ing netns /ns/swarm mtu 1450 address 02:42:0a:fe:00:01 type vxlan id 4096 local 192.0.2.1 dstport 4789 nolearning proxy",
    "link set sk0123-up mtu 1500",
    "link set sk0123-up up",
  ],
  [
    "swarm ip",
    "link set up0 mtu 1500",
    "link set up0 up",
    "link set gw0 mtu 1500",
    "link set gw0 address 02:42:ac:12:00:01",
    "link set gw0 up",
    "link set gaaaaaaaaaaaa mtu 1500",
    "link set gaaaaaaaaaaaa master gw0",
    "link set gaaaaaaaaaaaa type bridge_slave hairpin on",
    "link set gaaaaaaaaaaaa up",
    "link set br4097 mtu 1450",
    "link set br4097 up",
    "link set vx4097 mtu 1450",
    "link set vx4097 master br4097",
    "link set vx4097 type bridge_slave learning off neigh_suppress on",
    "link set vx4097 up",
    "link set o0-aaaaaaaaaa mtu 1450",
    "link set o0-aaaaaaaaaa master br4097",
    "link set o0-aaaaaaaaaa up",
    "link set vx-ing mtu 1450",
    "link set vx-ing address 02:42:0a:fe:00:01",
    "link set vx-ing up",
    "link set lo up",
  ],
  [
    "aaaaa ip",
    "link set ov0 mtu 1450",
    "link set ov0 address 02:42:0a:00:01:05",
    "link set ov0 up",
    "link set ethg mtu 1500",
    "link set ethg address 02:42:0a:ff:00:07",
    "link set ethg up",
    "link set lo up",
  ],
  ["host ip", "addr replace 172.19.0.1/30 dev sk0123-up"],
  [
    "swarm ip",
    "addr replace 172.19.0.2/30 dev up0",
    "addr replace 172.18.0.1/16 dev gw0",
    "addr replace 10.254.0.1/16 dev vx-ing",
    "route replace default via 172.19.0.1 dev up0",
    "route replace default via 10.254.0.2 dev vx-ing table 65538",
    "route replace 10.255.0.7 dev gw0",
    "route replace 10.255.0.8 via 10.254.0.2 dev vx-ing",
    "neigh replace 10.0.1.6 lladdr 02:42:0a:00:01:06 dev vx4097 nud permanent",
    "neigh replace 10.254.0.2 lladdr 02:42:0a:fe:00:02 dev vx-ing nud permanent",
    "rule add pref 1000 fwmark 0x2/0xffff lookup 65538",
  ],
  [
    "aaaaa ip",
    "addr replace 10.0.1.5/24 dev ov0",
    "addr replace 10.255.0.7/32 dev ethg",
    "route replace 172.18.0.1 dev ethg src 10.255.0.7",
    "route replace default via 172.18.0.1 dev ethg src 10.255.0.7",
  ],
  [
    "swarm bridge",
    "fdb replace 02:42:0a:00:01:06 dev vx4097 dst 192.0.2.2 self permanent",
    "fdb replace 02:42:0a:00:01:06 dev vx4097 master static",
    "fdb replace 02:42:0a:fe:00:02 dev vx-ing dst 192.0.2.2 self permanent",
  ],
];

describe("agent/network/plan", () => {
  it("wants nothing where nothing is to be connected", () => {
    const none = { ...input, sandboxes: [], cluster: emptyClusterState };
    equal(plan(none).size, 0);
  });

  it("makes devices in the order in which they need each other, then what is on them", () => {
    deepEqual(text(steps(new Map(), plan(input))), everything);
  });

  it("changes nothing when all is there", () => {
    equal(isNothing(steps(plan(input), plan(input))), true);
  });

  it("touches only what is new when a container is added or goes", () => {
    const second = { ...sandbox, id: other, overlays: [], gateway: undefined };
    const both = plan({ ...input, sandboxes: [sandbox, second] });
    deepEqual(text(steps(plan(input), both)), [["bbbbb ip", "link set lo up"]]);
    const alone = plan({ ...input, sandboxes: [{ ...sandbox, overlays: [] }] });
    deepEqual(text(steps(plan(input), alone)).flat(), [
      "swarm ip",
      "link del br4097",
      "link del vx4097",
      "link del o0-aaaaaaaaaa",
      "aaaaa ip",
      "link del ov0",
    ]);
  });

  it("moves an endpoint to another node with two entries", () => {
    const moved = new Map(cluster.endpoints).set(
      "t2",
      endpoint("t2", "n3", "10.0.1.6/24", "10.255.0.8/16"),
    );
    const peers = new Map(cluster.peers).set("n3", peer("n3", 3));
    const before = plan({ ...input, cluster: { ...cluster, peers } });
    const after = plan({ ...input, cluster: { ...cluster, peers, endpoints: moved } });
    deepEqual(text(steps(before, after)).flat(), [
      "swarm bridge",
      "fdb del 02:42:0a:00:01:06 dev vx4097 dst 192.0.2.2 self",
      "swarm ip",
      "route replace 10.255.0.8 via 10.254.0.3 dev vx-ing",
      "swarm bridge",
      "fdb replace 02:42:0a:00:01:06 dev vx4097 dst 192.0.2.3 self permanent",
    ]);
  });

  it("follows a node to another address", () => {
    const peers = new Map(cluster.peers).set("n2", peer("n2", 9));
    const { forwarding } = swarmOf(plan({ ...input, cluster: { ...cluster, peers } }));
    equal(forwarding.has("vx4097 02:42:0a:00:01:06 192.0.2.9"), true);
    equal(forwarding.has("vx4097 02:42:0a:00:01:06 192.0.2.2"), false);
  });

  it("makes again only what changed of many endpoints", () => {
    const key = "vx4097 10.0.1.6 02:42:0a:00:01:06";
    const entry = swarmOf(plan(input)).neighbours.get(key);
    const more = new Map(cluster.endpoints).set("t3", endpoint("t3", "n2", "10.0.1.7/24"));
    const after = swarmOf(plan({ ...input, cluster: { ...cluster, endpoints: more } }));
    equal(after.neighbours.get(key) === entry && entry !== undefined, true);
  });

  describe("with an encrypted mesh", () => {
    const encrypted = Driver.create({ name: "overlay", options: { encrypted: "" } });
    const spec = NetworkSpec.create({ ingress: true, driver: encrypted });
    const networks = new Map(cluster.networks);
    networks.set("ing", Network.create({ id: "ing", networkNumber: 4096, spec }));
    const secured = { ...input, cluster: { ...cluster, networks } };
    const secure = { device: "sk0123-wg", address: "10.253.0.1" };
    const about = (what: PlanInput, pattern: RegExp) =>
      text(steps(new Map(), plan(what)))
        .flat()
        .filter((line) => pattern.test(line));

    it("passes on inside WireGuard alone", () => {
      deepEqual(about({ ...secured, secure }, /link add vx-ing|fdb.*vx-ing/), [
        "link add vx-ing netns /ns/swarm mtu 1370 address 02:42:0a:fe:00:01 type vxlan id 4096 local 10.253.0.1 dev sk0123-wg dstport 4790 nolearning proxy",
        "fdb replace 02:42:0a:fe:00:02 dev vx-ing dst 10.253.0.2 self permanent",
      ]);
    });

    it("passes nothing on without a tunnel, and reaches its own tasks all the same", () => {
      deepEqual(about(secured, /vx-ing|10\.254/), []);
      deepEqual(
        about(secured, /10\.255/),
        about(input, /10\.255.* gw0|10\.255.* ethg|src 10\.255/),
      );
    });
  });

  it("takes the cluster's port of VXLAN, and keeps that of encrypted networks apart from it", () => {
    const [plain] = sandbox.overlays;
    const hidden = { ...plain, networkId: "sec", vni: 4098, encrypted: true } as OverlayPlace;
    const portsWith = (vxlanPort: number) =>
      text(
        steps(
          new Map(),
          plan({
            ...input,
            cluster: { ...cluster, self: { ...peer("n1", 1), vxlanPort } },
            sandboxes: [{ ...sandbox, overlays: [...sandbox.overlays, hidden] }],
            secure: { device: "sk0123-wg", address: "10.253.0.1" },
          }),
        ),
      )
        .flat()
        .flatMap((line) => /link add (vx\S+).* dstport (\d+)/.exec(line)?.slice(1).join(" ") ?? []);
    deepEqual(portsWith(0), ["vx4097 4789", "vx4098 4790", "vx-ing 4789"]);
    deepEqual(portsWith(7789), ["vx4097 7789", "vx4098 4790", "vx-ing 7789"]);
    deepEqual(portsWith(4790), ["vx4097 4790", "vx4098 4789", "vx-ing 4790"]);
  });

  it("puts devices of macvlan networks on those of the node", () => {
    const place = {
      kind: "macvlan",
      parent: "eth1",
      mode: "bridge",
      device: "eth0",
      addresses: [{ address: "10.66.0.2", length: 24 }],
      gateway: "10.66.0.1",
      gateway6: "",
      mac: "02:42:0a:42:00:02",
    } as const;
    const second = { ...sandbox, id: other, overlays: [], gateway: undefined, parents: [place] };
    const both = plan({ ...input, sandboxes: [sandbox, second] });
    deepEqual(text(steps(plan(input), both)).flat(), [
      "host ip",
      "link add link eth1 name eth0 netns /ns/bbbbb address 02:42:0a:42:00:02 type macvlan mode bridge",
      "bbbbb ip",
      "link set eth0 address 02:42:0a:42:00:02",
      "link set eth0 up",
      "link set lo up",
      "addr replace 10.66.0.2/24 dev eth0",
      "route replace default via 10.66.0.1 dev eth0",
    ]);
  });

  it("has one rule for all ways back where there are many peers", () => {
    const peers = new Map(
      Array.from({ length: 150 }, (_, i) => [`n${i + 1}`, peer(`n${i + 1}`, i + 1)]),
    );
    const swarm = plan({ ...input, cluster: { ...cluster, peers } }).get("swarm");
    deepEqual([...(swarm?.rules.keys() ?? [])], ["4 1000 65536/65536 65520"]);
  });
});
