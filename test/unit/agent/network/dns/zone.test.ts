/**
 * What names lead to, for whom: one small cluster, and questions with their answers.
 *
 * Networks: `front` and `back` (overlays), `ingress` (the mesh), `app` (an overlay that is called like a domain of the
 * world). Service `web` is in front and back, with an alias in each; `rr` is in back, without a service address; `idle` has
 * no ready task, `empty` none at all; `tool` is a container attached to front by hand; `box` a container in a bridge of the node.
 */
import { deepEqual, equal } from "node:assert/strict";
import type { ClusterState } from "../../../../../agent/network/cluster-state.ts";
import { emptyClusterState } from "../../../../../agent/network/cluster-state.ts";
import { NameIndex } from "../../../../../agent/network/dns/name-index.ts";
import { type Answer, answer } from "../../../../../agent/network/dns/zone.ts";
import { applyUpdate, replaceAll } from "../../../../../agent/network/state-change.ts";
import {
  Annotations,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  NetworkSpec,
  NetworkUpdate,
  ServiceAliases,
  VirtualIp,
} from "../../../../../src/common/api/generated/api.ts";

function network(id: string, subnets: readonly string[], ingress = false): Network {
  return Network.create({
    id: `n-${id}`,
    spec: NetworkSpec.create({ annotations: Annotations.create({ name: id }), ingress }),
    ipam: IpamOptions.create({ configs: subnets.map((subnet) => IpamConfig.create({ subnet })) }),
  });
}

/** @param places `network=address,address`, by blanks. */
function attachments(places: string, aliases: readonly string[] = []): NetworkAttachment[] {
  return places.split(" ").map((place) => {
    const [name, addresses = ""] = place.split("=");
    return NetworkAttachment.create({
      networkId: `n-${name}`,
      addresses: addresses.split(","),
      aliases: [...aliases],
    });
  });
}

function task(id: string, places: string, ready = true): NetworkEndpoint {
  const [serviceId = ""] = id.split(".");
  return NetworkEndpoint.create({ id, name: id, serviceId, ready, networks: attachments(places) });
}

function service(
  id: string,
  addresses: Readonly<Record<string, string>>,
  aliases: Readonly<Record<string, readonly string[]>> = {},
): NetworkService {
  return NetworkService.create({
    id,
    name: id,
    mode: Object.keys(addresses).length > 0 ? "vip" : "dnsrr",
    virtualIps: Object.entries(addresses).map(([name, address]) =>
      VirtualIp.create({ networkId: `n-${name}`, address }),
    ),
    aliases: Object.entries(aliases).map(([name, names]) =>
      ServiceAliases.create({ networkId: `n-${name}`, names: [...names] }),
    ),
  });
}

const cluster: ClusterState = applyUpdate(
  emptyClusterState,
  NetworkUpdate.create({
    networks: [
      network("front", ["10.1.0.0/24", "fd01::/64"]),
      network("back", ["10.2.0.0/24"]),
      network("ingress", ["10.255.0.0/16"], true),
      network("app", ["10.3.0.0/24"]),
      network("shop_data", ["10.4.0.0/24"]),
    ],
    services: [
      service(
        "web",
        { front: "10.1.0.2/24", back: "10.2.0.2/24", ingress: "10.255.0.2/16" },
        { front: ["site", "api.example.com"], back: ["inner"] },
      ),
      service("rr", {}, { back: ["pool"] }),
      service("empty", {}, { back: [] }),
      service("idle", { back: "10.2.0.9/24" }),
      service("mesh", { ingress: "10.255.0.3/16" }),
      service("other", { shop_data: "10.4.0.2/24" }),
    ],
    endpoints: [
      task("web.1", "front=10.1.0.11/24,fd01:0::000b/64 back=10.2.0.11/24"),
      task("web.2", "front=10.1.0.12/24,fd01::c/64 back=10.2.0.12/24"),
      task("web.3", "front=10.1.0.13/24 back=10.2.0.13/24", false),
      task("rr.1", "back=10.2.0.21/24"),
      task("rr.2", "back=10.2.0.22/24"),
      task("idle.1", "back=10.2.0.31/24", false),
      NetworkEndpoint.create({
        id: "t-tool",
        name: "Tool",
        networks: attachments("front=10.1.0.40/24", ["hammer", "site"]),
      }),
    ],
  }),
  "me",
).state;

function indexOf(state: ClusterState): NameIndex {
  const index = new NameIndex();
  const { change } = replaceAll(emptyClusterState, state, "me");
  index.update(state, change);
  index.setLocal([
    {
      networkId: "b-1",
      networkName: "Bench",
      names: ["box", "crate"],
      addresses: ["172.20.0.2/16", "fd20::2"],
    },
  ]);
  return index;
}

function text(result: Answer): string {
  if (result.kind === "addresses") return result.addresses.join(" ");
  return result.kind === "names" ? result.names.join(" ") : result.kind;
}

/** Networks of the asker, name, type, answer. */
const table: readonly (readonly [string, string, string, string])[] = [
  // Services by name and alias, in the first network that knows them.
  ["front back", "web", "A", "10.1.0.2"],
  ["back front", "web", "A", "10.2.0.2"],
  ["front", "site", "A", "10.1.0.2 10.1.0.40"],
  ["front", "api.example.com", "A", "10.1.0.2"],
  ["back", "api.example.com", "A", "not-ours"],
  ["back", "site", "A", "not-ours"],
  ["back", "inner", "A", "10.2.0.2"],
  ["app", "web", "A", "not-ours"],
  ["", "web", "A", "not-ours"],
  // Ready tasks.
  ["front", "tasks.web", "A", "10.1.0.11 10.1.0.12"],
  ["front", "tasks.web", "AAAA", "fd01::b fd01::c"],
  ["front", "tasks.site", "A", "10.1.0.11 10.1.0.12"],
  ["front", "tasks.nobody", "A", "not-ours"],
  ["back", "rr", "A", "10.2.0.21 10.2.0.22"],
  ["back", "pool", "A", "10.2.0.21 10.2.0.22"],
  ["back", "tasks.pool", "A", "10.2.0.21 10.2.0.22"],
  ["front", "rr", "A", "not-ours"],
  // Without a ready task the service address stays, and the names of tasks have nothing.
  ["back", "idle", "A", "10.2.0.9"],
  ["back", "tasks.idle", "A", "no-data"],
  ["back", "idle.1", "A", "no-data"],
  ["back", "empty", "A", "no-data"],
  ["back", "tasks.empty", "A", "no-data"],
  ["front", "empty", "A", "not-ours"],
  // Containers.
  ["front", "web.1", "A", "10.1.0.11"],
  ["front", "web.3", "A", "no-data"],
  ["front", "tool", "A", "10.1.0.40"],
  ["front", "hammer", "A", "10.1.0.40"],
  ["front", "tasks.tool", "A", "not-ours"],
  ["b-1", "box", "A", "172.20.0.2"],
  ["b-1", "crate", "AAAA", "fd20::2"],
  ["front", "box", "A", "not-ours"],
  // With the network's name.
  ["front back", "web.back", "A", "10.2.0.2"],
  ["front back", "web.front", "A", "10.1.0.2"],
  ["front", "web.back", "A", "not-ours"],
  ["front", "tasks.web.front", "A", "10.1.0.11 10.1.0.12"],
  ["b-1", "box.bench", "A", "172.20.0.2"],
  // Known names have nothing else, and nobody is asked about them.
  ["back", "web", "AAAA", "no-data"],
  ["front", "web", "MX", "no-data"],
  ["front", "web", "UNKNOWN_65", "no-data"],
  ["front", "web.1", "ANY", "10.1.0.11 fd01::b"],
  // What would be ours, and what may as well be a domain of the world.
  ["shop_data", "nobody.shop_data", "A", "no-name"],
  ["shop_data", "deep.nobody.shop_data", "A", "no-name"],
  ["front", "nobody.front", "A", "not-ours"],
  ["app", "example.app", "A", "not-ours"],
  ["front", "example.com", "A", "not-ours"],
  ["front", "", "NS", "not-ours"],
  // The mesh gives no names.
  ["ingress", "mesh", "A", "not-ours"],
  ["ingress front", "web", "A", "10.1.0.2"],
  // By address.
  ["front", "11.0.1.10.in-addr.arpa", "PTR", "web.1.front"],
  ["front", "2.0.1.10.in-addr.arpa", "PTR", "web.front"],
  ["front", "40.0.1.10.in-addr.arpa", "PTR", "tool.front"],
  ["front back", "21.0.2.10.in-addr.arpa", "PTR", "rr.1.back"],
  ["front", `b.${"0.".repeat(27)}1.0.d.f.ip6.arpa`, "PTR", "web.1.front"],
  ["b-1", "2.0.20.172.in-addr.arpa", "PTR", "box.bench"],
  ["front", "11.0.1.10.in-addr.arpa", "A", "no-data"],
  ["front", "99.0.1.10.in-addr.arpa", "PTR", "no-name"],
  ["front", "1.0.18.172.in-addr.arpa", "PTR", "no-name"],
  ["front", "21.0.2.10.in-addr.arpa", "PTR", "not-ours"],
  ["front", "8.8.8.8.in-addr.arpa", "PTR", "not-ours"],
  ["front", "256.0.1.10.in-addr.arpa", "PTR", "not-ours"],
  ["front", "x.1.10.in-addr.arpa", "PTR", "not-ours"],
];

describe("agent/network/dns/zone", () => {
  const index = indexOf(cluster);
  const ask = (networks: string, name: string, type: string, turn = 0, by = index) => {
    const ids = networks.split(" ").map((id) => (id === "b-1" ? id : `n-${id}`));
    return text(answer({ name, type }, { networks: ids }, by, turn));
  };

  for (const [networks, name, type, expected] of table) {
    it(`answers ${type} of ${name} from ${networks || "nowhere"} by ${expected}`, () => {
      equal(ask(networks, name, type), expected);
    });
  }

  it("lets each address come first in turn", () => {
    deepEqual(
      [0, 1, 2].map((turn) => ask("back", "rr", "A", turn)),
      ["10.2.0.21 10.2.0.22", "10.2.0.22 10.2.0.21", "10.2.0.21 10.2.0.22"],
    );
  });

  it("follows what changes, and forgets what goes", () => {
    const own = indexOf(cluster);
    const change = (fields: Partial<NetworkUpdate>) => {
      const changed = applyUpdate(state, NetworkUpdate.create(fields), "me");
      own.update(changed.state, changed.change);
      state = changed.state;
    };
    let state = cluster;
    change({
      endpoints: [task("rr.1", "back=10.2.0.21/24", false), task("rr.3", "back=10.2.0.23/24")],
    });
    equal(ask("back", "rr", "A", 0, own), "10.2.0.22 10.2.0.23");
    change({ removedEndpointIds: ["rr.1", "rr.2"] });
    equal(ask("back", "rr", "A", 0, own), "10.2.0.23");
    equal(ask("back", "21.0.2.10.in-addr.arpa", "PTR", 0, own), "no-name");
    change({ services: [service("web", { front: "10.1.0.3" }, { front: ["page"] })] });
    equal(ask("front", "web", "A", 0, own), "10.1.0.3");
    equal(ask("front", "page", "A", 0, own), "10.1.0.3");
    equal(ask("front", "api.example.com", "A", 0, own), "not-ours");
    change({ removedServiceIds: ["web"], removedEndpointIds: ["web.1", "web.2", "web.3"] });
    equal(ask("front", "web", "A", 0, own), "not-ours");
    own.setLocal([]);
    equal(ask("b-1", "box", "A", 0, own), "not-ours");
  });
});
