/**
 * Places of containers: what leads where, by the networks they are in.
 */
import { deepEqual, equal } from "node:assert/strict";
import { emptyContainerConfig } from "../../../../agent/exec/containerd/record.ts";
import { asksNames } from "../../../../agent/network/asks-names.ts";
import { bindingsOf } from "../../../../agent/network/node-rules.ts";
import { sandboxOf } from "../../../../agent/network/places.ts";
import type { LocalNetwork, NetworkPlace } from "../../../../src/common/container/networks.ts";

const base: LocalNetwork = {
  id: "m".repeat(64),
  name: "lan",
  driver: "macvlan",
  labels: {},
  options: { parent: "eth1" },
  internal: false,
  ipv6: false,
  ipam: undefined,
  createdAtMs: 0,
  subnets: [{ subnet: "10.66.0.0/24", gateway: "10.66.0.1" }],
  predefined: false,
};
const bridge: LocalNetwork = { ...base, id: "b".repeat(64), name: "own", driver: "bridge" };

function placeIn(network: LocalNetwork, address: string): NetworkPlace {
  return {
    networkId: network.id,
    networkName: network.name,
    endpointId: "e",
    address,
    prefixLength: 24,
    gateway: network.subnets[0]?.gateway ?? "",
    address6: "",
    prefixLength6: 0,
    gateway6: "",
    macAddress: "02:42:0a:42:00:02",
    aliases: ["alias"],
  };
}

function made(places: readonly NetworkPlace[]) {
  return sandboxOf({
    container: { id: "c".repeat(64), name: "one", config: emptyContainerConfig },
    joins: [],
    local: { sandbox: "", places, ports: [] },
    localNetworks: [base, bridge],
    give: () => "172.18.0.9",
  });
}

describe("agent/network/places", () => {
  it("leads containers that are on devices of the node alone to the name server, and nowhere else", () => {
    const sandbox = made([placeIn(base, "10.66.0.2")]);
    equal(sandbox.gateway?.address, "172.18.0.9");
    deepEqual([sandbox.gateway?.namesOnly, sandbox.gateway?.outward], [true, false]);
    equal(asksNames(sandbox), true);
    const [place] = sandbox.parents ?? [];
    deepEqual([place?.networkId, place?.aliases], [base.id, ["alias"]]);
    equal(place?.gateway, "10.66.0.1");
  });

  it("leads no ports to what is there for names alone", () => {
    const sandbox = made([placeIn(base, "10.66.0.2")]);
    const port = { protocol: "tcp", containerPort: 80, hostAddress: "", hostPort: 8080 } as const;
    deepEqual(
      bindingsOf(sandbox, [port]).map(({ addresses }) => addresses),
      [[]],
    );
  });

  it("needs no such device where a bridge leads to the name server", () => {
    const sandbox = made([placeIn(bridge, "10.67.0.2"), placeIn(base, "10.66.0.2")]);
    equal(sandbox.gateway, undefined);
    deepEqual([sandbox.bridges[0]?.gateway, sandbox.parents?.[0]?.gateway], ["10.66.0.1", ""]);
  });
});
