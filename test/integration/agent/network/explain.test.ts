/**
 * What a node tells of its data path: two nodes in one kernel, whose loops have ended, so that what is taken away stays away.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deleteEntries } from "../../../../agent/network/bpf/calls.ts";
import { type ClusterState, emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { backendKey } from "../../../../agent/network/connect/entries.ts";
import { maps } from "../../../../agent/network/connect/programs.ts";
import { makeNamespace } from "../../../../agent/network/namespace.ts";
import {
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  NetworkSpec,
  PortConfig,
} from "../../../../src/common/api/generated/api.ts";
import type { LookRequest, Probe } from "../../../../src/common/container/data-path.ts";
import { detachLink, linksHere, mapsHere } from "../../../support/bpf-descriptors.ts";
import { DataPathNode, inside } from "../../../support/data-path-node.ts";

const never = new AbortController().signal;
const service = NetworkService.create({
  id: "s",
  name: "web",
  ports: [PortConfig.create({ publishMode: "ingress", publishedPort: 8080, targetPort: 80 })],
  virtualIps: [{ networkId: "net", address: "10.0.1.200/24" }],
});

function placesOf(number: number): NetworkAttachment[] {
  return [
    NetworkAttachment.create({ networkId: "net", addresses: [`10.0.1.${number}/24`] }),
    NetworkAttachment.create({ networkId: "ing", addresses: [`10.255.0.${number}/16`] }),
  ];
}

const whole: ClusterState = {
  ...emptyClusterState,
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
  services: new Map([["s", service]]),
  endpoints: new Map(
    [1, 2].map((number) => {
      const who = { id: `t${number}`, name: `web.${number}`, nodeId: `n${number}`, serviceId: "s" };
      return [who.id, NetworkEndpoint.create({ ...who, ready: true, networks: placesOf(number) })];
    }),
  ),
};

/** Nothing listens at its port: to be refused is an answer. */
function probe(from: string, address: string): Probe {
  return { from, networkId: from.includes(".") ? "net" : "", address, port: 1 };
}

function request(...probes: readonly Probe[]): LookRequest {
  const ports = [{ protocol: "tcp", port: 8080 }] as const;
  return { networkIds: ["net"], serviceIds: ["s"], ports, names: [], probes };
}

describe("agent/network/explain in a kernel", function () {
  this.timeout(300_000);
  const dir = mkdtempSync(join(tmpdir(), "skep-explain-"));
  const [one, two] = [1, 2].map(
    (number) => new DataPathNode({ dir, number, places: placesOf(number) }),
  ) as [DataPathNode, DataPathNode];

  before(async () => {
    for (const node of [one, two]) {
      await makeNamespace(node.host);
      inside(node.host, "ip", "link", "set", "lo", "up");
    }
    inside(
      one.host,
      "ip",
      "link",
      "add",
      "eth0",
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      two.host,
    );
    for (const node of [one, two]) {
      inside(node.host, "ip", "addr", "add", `${node.address}/24`, "dev", "eth0");
      inside(node.host, "ip", "link", "set", "eth0", "up");
      node.start().claimed();
    }
    const peers = new Map([one, two].map((node) => [node.peer().nodeId, node.peer()]));
    for (const node of [one, two]) node.take({ ...whole, peers });
    for (const node of [one, two]) await node.network?.join(node.container, never);
    for (const node of [one, two]) {
      await node.network?.inspect();
      await node.stop();
    }
  });

  after(async () => {
    for (const node of [one, two]) await node.remove();
    rmSync(dir, { recursive: true, force: true });
  });

  async function look(asked: LookRequest) {
    const found = await one.network?.look(asked, never);
    ok(found !== undefined);
    return found;
  }

  it("finds all as planned, and where the kernel leads", async () => {
    const found = await look(request());
    deepEqual([found.trouble, found.differences, found.foreign, found.barriers], ["", [], [], []]);
    ok(found.compared > 80, `${found.compared} compared`);
    deepEqual(found.listens, [{ protocol: "tcp", port: 8080 }]);
    deepEqual(found.ledTo, [
      { where: "mesh", serviceId: "s", what: "8080/tcp", addresses: ["10.255.0.1", "10.255.0.2"] },
      { where: "c1", serviceId: "s", what: "10.0.1.200", addresses: ["10.0.1.1", "10.0.1.2"] },
    ]);
  });

  it("tells probes that arrive from those that do not", async () => {
    const { probes } = await look(
      request(
        probe("10.0.1.1", "10.0.1.2"),
        probe("mesh", "10.255.0.2"),
        probe("host", "10.99.0.2"),
        probe("10.0.1.1", "10.0.1.77"),
        probe("10.0.1.9", "10.0.1.2"),
      ),
    );
    const outcomes = probes.map(({ outcome }) => outcome);
    deepEqual(outcomes, ["refused", "refused", "refused", "silent", "unmade"]);
    equal(probes[4]?.error, "no container here has the address 10.0.1.9");
  });

  it("compares the programs at connect of a node that runs, and restores them", async () => {
    const network = two.start();
    await network.adopted(two.container);
    network.claimed();
    await network.inspect();
    const found = async () => {
      const { compared, differences } = await network.look(request(), never);
      return { compared, told: differences.map(({ where, what }) => `${where}: ${what}`) };
    };
    const well = await found();
    deepEqual(well.told, []);
    const key = backendKey(1, "10.0.1.200", 1);
    const spoiled = async () => {
      const [backends = -1] = mapsHere(maps.backends);
      deleteEntries(backends, key, maps.backends);
      const [link] = linksHere();
      if (link !== undefined) detachLink(link);
      return found();
    };
    let seen = await spoiled();
    // The node looks at its kernel by itself, too, and restores it: then there is nothing to tell.
    while (seen.told.length < 2) seen = await spoiled();
    deepEqual(seen.told, [
      "host: 1 of 4 programs that lead connections to service addresses are taken away",
      "c2: programs at connect: service address 10.0.1.200 does not lead to 10.0.1.2",
    ]);
    await network.inspect();
    deepEqual(await found(), well);
    await two.stop();
  });

  it("names what is missing, and whose it is", async () => {
    const mac = "02:42:0a:00:01:02";
    inside(one.swarm, "bridge", "fdb", "del", mac, "dev", "vx4097", "dst", "10.99.0.2", "self");
    inside(one.swarm, "nft", "delete", "element", "inet", "skep_mesh", "ports", "{ tcp . 8080 }");
    inside(one.sandbox, "nft", "delete", "element", "inet", "skep", "slots", "{ 10.0.1.200 . 1 }");
    inside(one.sandbox, "ip", "link", "set", "ethg", "down");
    const { differences } = await look(request());
    const told = differences.map(({ where, what }) => `${where}: ${what}`);
    for (const text of [
      `swarm: there is no FDB entry for ${mac} of web.2 on n2 to 10.99.0.2 on vx4097`,
      "swarm: table skep_mesh: map ports lacks tcp . 8080",
      "c1: device ethg is switched off",
      "c1: table skep: service address 10.0.1.200 does not lead to 10.0.1.2",
    ]) {
      ok(told.includes(text), `${text} in:\n${told.join("\n")}`);
    }
  });
});
