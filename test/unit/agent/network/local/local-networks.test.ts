/**
 * A node's own networks: made, used, kept over restarts, removed.
 */
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { emptyContainerConfig } from "../../../../../agent/exec/containerd/record.ts";
import type { LocalNetworks, Plumbing } from "../../../../../agent/network/local/local-networks.ts";
import {
  Driver,
  IpamConfig,
  IpamOptions,
  NetworkSpec,
} from "../../../../../src/common/api/generated/api.ts";
import type {
  LocalNetworkConfig,
  NetworkPlace,
} from "../../../../../src/common/container/networks.ts";
import type { Container, NetworkJoin } from "../../../../../src/common/container/types.ts";
import { fakeRuntime } from "../../../../support/fake-runtime.ts";
import { type FakeHost, fakeHost, networksOn } from "../../../../support/local-networks.ts";

const config = (name: string, more: Partial<LocalNetworkConfig> = {}): LocalNetworkConfig => ({
  name,
  driver: "bridge",
  labels: {},
  options: {},
  internal: false,
  ipv6: false,
  ipam: undefined,
  ...more,
});

const join = (network: string, more: Partial<NetworkJoin> = {}): NetworkJoin => ({
  network,
  aliases: [],
  addresses: [],
  macAddress: "",
  driverOptions: {},
  ...more,
});

function subnet(text: string, more: Partial<IpamConfig> = {}): IpamOptions {
  return IpamOptions.create({ configs: [IpamConfig.create({ subnet: text, ...more })] });
}

const noPlumbing: Plumbing = {
  changed: async () => {},
  servicePorts: () => [],
  swarmPlacesOf: () => undefined,
  containersInSwarm: () => [],
  swarmNetworks: () => [],
};

describe("agent/network/local/local-networks", () => {
  let host: FakeHost;
  let networks: LocalNetworks;
  let { containers } = fakeRuntime();

  beforeEach(() => {
    ({ containers } = fakeRuntime());
    host = fakeHost();
    networks = networksOn(host);
  });

  async function container(more: Partial<Container["config"]>, pid = 0): Promise<Container> {
    const { id } = await containers.create({
      ...emptyContainerConfig,
      image: "busybox",
      ...more,
    });
    const made = containers.find(id);
    return { ...made, state: { ...made.state, pid } };
  }

  it("waits for the disk for networks, not for places of containers in them", async () => {
    await networks.give(await container({}));
    // The subnets of `bridge` were chosen, and stay.
    equal(host.saves, 1);
    const second = await container({});
    const { places } = await networks.give(second);
    equal(host.saves, 1);
    deepEqual(networksOn(host).placesOf(second.id)?.places, places);
    await networks.release(second.id);
    equal(host.saves, 1);
    equal(networksOn(host).placesOf(second.id), undefined);
    await networks.create(config("own"));
    equal(host.saves, 2);
    deepEqual(networksOn(host).find("bridge").subnets, networks.find("bridge").subnets);
  });

  it("has the networks every node has, and lets nobody remove them", async () => {
    deepEqual(
      networks.list().map(({ name, driver }) => [name, driver]),
      [
        ["bridge", "bridge"],
        ["docker_gwbridge", "bridge"],
        ["host", "host"],
        ["none", "null"],
      ],
    );
    ok(networks.list().every(({ createdAtMs }) => createdAtMs > 0));
    await rejects(networks.remove("bridge"), /bridge is a pre-defined network and cannot be/);
  });

  it("keeps networks and places over a restart of the daemon", async () => {
    const { id } = await networks.create(config("n1"));
    const one = await container({ networks: ["n1"] });
    const { places } = await networks.give(one);
    const again = networksOn(host);
    // The node's own are as old as the daemon, as with Docker.
    const { createdAtMs } = again.find("bridge");
    equal(again.find("n1").id, id);
    equal(again.find(id.slice(0, 6)).id, id);
    deepEqual((await again.give(one)).places, places);
    deepEqual(again.find("bridge"), { ...networks.find("bridge"), createdAtMs });
  });

  it("refuses networks that cannot be, naming what is wrong", async () => {
    await networks.create(config("n1", { ipam: subnet("10.1.0.0/24") }));
    host.routes = ["10.2.0.0/16"];
    const refused: [LocalNetworkConfig, RegExp][] = [
      [config("n1"), /network with name n1 already exists/],
      [config("a b"), /invalid network name: "a b"/],
      [config("n2", { driver: "weave" }), /plugin "weave" not found/],
      [config("n2", { driver: "host" }), /only one instance of "host" network is allowed/],
      [config("n2", { options: { color: "red" } }), /invalid option "color"/],
      [config("n2", { options: { "com.docker.network.driver.mtu": "x" } }), /driver\.mtu/],
      [config("n2", { driver: "macvlan" }), /needs the option parent/],
      [
        config("n2", { driver: "macvlan", options: { parent: "nosuch" } }),
        /the parent "nosuch" is no device of this host: ip link shows/,
      ],
      [
        config("n2", { driver: "ipvlan", options: { parent: "lan.7" } }),
        /with ip link add link lan name lan\.7 type vlan id 7/,
      ],
      [config("n2", { ipam: subnet("10.1.0.0/25") }), /Pool overlaps/],
      [config("n2", { ipam: subnet("10.2.3.0/24") }), /Pool overlaps/],
    ];
    for (const [wrong, message] of refused) await rejects(networks.create(wrong), { message });
    equal(networks.list().length, 5);
  });

  it("gives addresses until they are released", async () => {
    await networks.create(config("n1", { ipam: subnet("10.1.0.0/30") }));
    const [one, two] = [
      await container({ networks: ["n1"] }),
      await container({ networks: ["n1"] }),
    ];
    const { places } = await networks.give(one);
    deepEqual(
      places.map((p) => [p.address, p.prefixLength, p.gateway, p.macAddress]),
      [["10.1.0.2", 30, "10.1.0.1", "02:42:0a:01:00:02"]],
    );
    await rejects(networks.give(two), /no available IPv4 addresses/);
    await rejects(networks.remove("n1"), /has active endpoints/);
    await networks.release(one.id);
    equal((await networks.give(two)).places[0]?.address, "10.1.0.2");
    await networks.release(two.id);
    await networks.remove("n1");
    throws(() => networks.find("n1"), /network n1 not found/);
  });

  it("gives a container the address it asks for, in subnets of the user's", async () => {
    await networks.create(config("n1", { ipam: subnet("10.1.0.0/24") }));
    await networks.create(config("n2"));
    const asking = (network: string) =>
      container({ networks: [network], joins: [join(network, { addresses: ["10.1.0.9"] })] });
    const one = await asking("n1");
    equal((await networks.give(one)).places[0]?.address, "10.1.0.9");
    await rejects(networks.give(await asking("n1")), /Address already in use/);
    const { config: other } = await asking("n2");
    throws(() => networks.check(other), /only when connecting to networks with user configured/);
    const { config: main } = await asking("bridge");
    throws(() => networks.check(main), /supported on user defined networks only/);
  });

  it("leaves networks it does not know to the swarm, and containers without networks alone", async () => {
    for (const name of ["overlay1", "host", "none", "container:x"]) {
      const { places } = await networks.give(await container({ networks: [name] }));
      deepEqual(places, []);
    }
  });

  it("connects and disconnects, at once where the container runs", async () => {
    const changed: string[] = [];
    networks.setPlumbing({
      ...noPlumbing,
      changed: async ({ id }) => {
        changed.push(id);
      },
    });
    await networks.create(config("n1"));
    const one = await container({}, 7);
    await networks.give(one);
    await networks.connect(one, join("n1", { aliases: ["web"] }));
    deepEqual(
      networks.placesOf(one.id)?.places.map((p) => [p.networkName, p.aliases]),
      [
        ["bridge", []],
        ["n1", ["web"]],
      ],
    );
    await rejects(networks.connect(one, join("n1")), /already exists in network n1/);
    await networks.disconnect(one, "bridge", false);
    deepEqual(networks.containersIn(networks.find("bridge").id), []);
    await rejects(networks.disconnect(one, "bridge", false), /is not connected to the network/);
    deepEqual(changed, [one.id, one.id]);
    await networks.release(one.id);
    deepEqual(
      networks.joinsOf(one).map(({ network }) => network),
      ["n1"],
    );
  });

  it("takes a connection back that could not be made", async () => {
    networks.setPlumbing({
      ...noPlumbing,
      changed: async () => {
        throw new Error("no device");
      },
    });
    await networks.create(config("n1"));
    const one = await container({}, 7);
    await networks.give(one);
    await rejects(networks.connect(one, join("n1")), /no device/);
    await networks.remove("n1");
  });

  it("refuses host ports that other containers and services of the swarm have", async () => {
    const binding = { protocol: "tcp", containerPort: 80, hostAddress: "", hostPort: 80 } as const;
    networks.setPlumbing({
      ...noPlumbing,
      servicePorts: () => [{ protocol: "tcp", hostAddress: "", hostPort: 8080 }],
    });
    await networks.give(await container({ ports: [binding] }));
    for (const hostPort of [80, 8080]) {
      const other = await container({ ports: [{ ...binding, hostPort }] });
      await rejects(networks.give(other), {
        message: `Bind for 0.0.0.0:${hostPort} failed: port is already allocated`,
      });
      equal(networks.placesOf(other.id), undefined);
    }
  });

  it("publishes all exposed ports that are not published", async () => {
    const binding = { protocol: "tcp", containerPort: 80, hostAddress: "", hostPort: 81 } as const;
    const exposedPorts = ["80/tcp", "53/udp"];
    const one = await container({ ports: [binding], publishAll: true, exposedPorts });
    deepEqual((await networks.give(one)).ports, [
      binding,
      { protocol: "udp", containerPort: 53, hostAddress: "", hostPort: 49_153 },
    ]);
  });

  it("shows places in networks of the swarm beside those of its own", async () => {
    await networks.create(config("n1"));
    const one = await container({ networks: ["n1", "overlay1"] });
    const { places } = await networks.give(one);
    const overlay = { ...places[0], networkId: "o1", networkName: "overlay1" } as NetworkPlace;
    networks.setPlumbing({
      ...noPlumbing,
      swarmPlacesOf: (id) => (id === one.id ? { sandbox: "/run/x", places: [overlay] } : undefined),
      containersInSwarm: (id) => (id === "o1" ? [one.id] : []),
    });
    deepEqual(
      networks.placesOf(one.id)?.places.map(({ networkName }) => networkName),
      ["n1", "overlay1"],
    );
    equal(networks.placesOf(one.id)?.sandbox, "/run/x");
    deepEqual(networks.containersIn("o1"), [one.id]);
  });

  it("makes networks of the swarm for the tasks in them, and keeps them as long", async () => {
    const made = NetworkSpec.create({
      annotations: { name: "lan", labels: {} },
      driver: Driver.create({ name: "macvlan" }),
      configFrom: "held",
    });
    const task = { networks: ["net1"], joins: [join("net1", { made })] };
    const one = await container(task);
    await rejects(
      networks.give(one),
      /configuration network "held" does not exist: make it on this/,
    );
    await networks.create(
      config("held", {
        configOnly: true,
        options: { parent: "eth1" },
        ipam: subnet("10.66.0.0/24", { range: "10.66.0.64/28" }),
      }),
    );
    const two = await container(task);
    const [first] = (await networks.give(one)).places;
    const [second] = (await networks.give(two)).places;
    deepEqual(
      [first?.networkId, first?.address, second?.address],
      ["net1", "10.66.0.64", "10.66.0.65"],
    );
    deepEqual([networks.find("lan").ofSwarm, networks.find("lan").id], [true, "net1"]);
    await rejects(networks.remove("held"), /is in use: remove lan first/);
    await networks.release(one.id);
    equal(networks.lookUp("lan")?.id, "net1");
    await networks.release(two.id);
    equal(networks.lookUp("lan"), undefined);
    await networks.remove("held");
  });

  it("has no network bridge where the node is to have none, and those who name none are alone", async () => {
    networks = networksOn(host, { hasBridge: false });
    deepEqual(
      networks.list().map(({ name }) => name),
      ["docker_gwbridge", "host", "none"],
    );
    throws(() => networks.find("bridge"), /network bridge not found/);
    const n1 = await networks.create(config("n1"));
    const alone: [string[], boolean][] = [
      [[], true],
      [["default"], true],
      [["bridge"], true],
      [["n1"], false],
      [["default", "n1"], false],
      // What these have is not the node's to say.
      [["host"], false],
      [["none"], false],
    ];
    for (const [names, isAlone] of alone)
      equal(networks.isAlone(await container({ networks: names })), isAlone, names.join());
    const both = await container({ networks: ["default", "n1"] });
    deepEqual(networks.swarmJoinsOf(both), []);
    const { places } = await networks.give(both);
    deepEqual(
      places.map(({ networkId }) => networkId),
      [n1.id],
    );
  });

  it("connects who is alone once it does not run, and nobody to a bridge that is not there", async () => {
    networks = networksOn(host, { hasBridge: false });
    await networks.create(config("n1"));
    const running = await container({}, 7);
    await rejects(networks.connect(running, join("n1")), /stop it, connect it, and start it again/);
    const stopped = await container({});
    await rejects(networks.connect(stopped, join("bridge")), /network bridge not found/);
    await networks.connect(stopped, join("n1"));
    equal(networks.isAlone(stopped), false);
    deepEqual(networks.swarmJoinsOf(stopped), []);
  });

  it("keeps the bridge while containers are in it, and takes it up again with a free subnet", async () => {
    const one = await container({});
    const { places } = await networks.give(one);
    const kept = networksOn(host, { hasBridge: false });
    deepEqual((await kept.give(one)).places, places);
    await kept.release(one.id);
    const without = networksOn(host, { hasBridge: false });
    equal(without.lookUp("bridge"), undefined);
    equal(networksOn(host).find("bridge").subnets.length, 1);
    host = fakeHost();
    const never = networksOn(host, { hasBridge: false });
    const { subnets } = await never.create(config("n1"));
    const first = networksOn(host).find("bridge");
    equal(first.subnets.length, 1);
    ok(first.subnets[0]?.subnet !== subnets[0]?.subnet);
    // It is written down with the first that changes.
    const again = networksOn(host);
    await again.give(await container({}));
    deepEqual(host.kept?.bridge, first.subnets);
  });

  it("tells what happens to networks", async () => {
    const stop = new AbortController();
    const seen: string[] = [];
    const reading = (async () => {
      for await (const { action, network } of networks.events(stop.signal)) {
        seen.push(`${action} ${network.name}`);
        if (action === "destroy") return;
      }
    })();
    await networks.create(config("n1"));
    const one = await container({ networks: ["n1"] });
    await networks.give(one);
    await networks.give(one);
    await networks.forget(one.id);
    await networks.remove("n1");
    await reading;
    deepEqual(seen, ["create n1", "connect n1", "disconnect n1", "destroy n1"]);
  });
});
