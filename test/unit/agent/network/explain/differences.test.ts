/**
 * What is told of a namespace that is not as planned.
 */
import { deepEqual, equal } from "node:assert/strict";
import { emptyClusterState } from "../../../../../agent/network/cluster-state.ts";
import { compareSpace, whoseIn } from "../../../../../agent/network/explain/differences.ts";
import { type Link, type SpaceContents, spaceState } from "../../../../../agent/network/model.ts";
import {
  NetworkAttachment,
  NetworkEndpoint,
  NetworkPeer,
} from "../../../../../src/common/api/generated/api.ts";

const tunnel: Link = {
  name: "vx4097",
  kind: "vxlan",
  mtu: 1450,
  mac: "",
  master: "br4097",
  hairpin: false,
  peer: undefined,
  vxlan: { id: 4097, local: "10.77.0.11", port: 4789, through: "" },
};
const entry = { device: "vx4097", mac: "02:42:0a:00:01:03", destination: "10.77.0.12" };
const plan: SpaceContents = {
  links: [tunnel],
  addresses: [{ device: "gw0", address: "172.18.0.1", length: 16 }],
  neighbours: [{ device: "vx4097", address: "10.0.1.3", mac: entry.mac }],
  forwarding: [entry],
  settings: [["net/ipv4/ip_forward", "1"]],
};
const state = {
  ...emptyClusterState,
  peers: new Map([["n2", NetworkPeer.create({ nodeId: "n2", number: 2, hostname: "w2" })]]),
  endpoints: new Map([
    [
      "t1",
      NetworkEndpoint.create({
        id: "t1",
        name: "web.1.t1",
        nodeId: "n2",
        networks: [NetworkAttachment.create({ networkId: "net", addresses: ["10.0.1.3/24"] })],
      }),
    ],
  ]),
};

function differences(
  seen: SpaceContents,
  more: { down?: string[]; devices?: string[]; strict?: boolean } = {},
) {
  return compareSpace({
    wanted: spaceState(plan),
    seen: spaceState({ ...plan, ...seen }),
    down: new Set(more.down),
    ...(more.devices === undefined ? {} : { devices: new Set(more.devices) }),
    strict: more.strict ?? true,
    who: whoseIn(state, new Set(["net"])),
  }).differences;
}

describe("agent/network/explain/differences", () => {
  it("finds nothing where all is as planned, and counts what it compared", () => {
    deepEqual(differences({}), []);
    const sides = { wanted: spaceState(plan), seen: spaceState(plan), down: new Set<string>() };
    equal(compareSpace({ ...sides, strict: true, who: () => "" }).compared, 5);
  });

  it("names whose entry is missing", () => {
    deepEqual(differences({ forwarding: [], neighbours: [] }), [
      "there is no neighbour entry for 10.0.1.3 of web.1.t1 on w2 at 02:42:0a:00:01:03 on vx4097",
      "there is no FDB entry for 02:42:0a:00:01:03 of web.1.t1 on w2 to 10.77.0.12 on vx4097",
    ]);
  });

  it("names entries that lead to a node where it is no more, where all is ours", () => {
    const stale = { forwarding: [entry, { ...entry, destination: "10.77.0.99" }] };
    deepEqual(differences(stale), [
      "there is a FDB entry for 02:42:0a:00:01:03 of web.1.t1 on w2 to 10.77.0.99 on vx4097 that nothing is to have",
    ]);
    deepEqual(differences(stale, { strict: false }), []);
  });

  it("says of a missing device only that", () => {
    deepEqual(differences({ links: [], forwarding: [], neighbours: [] }), [
      "device vx4097 is missing",
    ]);
  });

  for (const [what, link, told] of [
    ["its MTU", { mtu: 1400 }, "device vx4097 has an MTU of 1400 instead of 1450"],
    ["its bridge", { master: "" }, "device vx4097 is a port of no bridge instead of bridge br4097"],
    [
      "where it sends from",
      { vxlan: { id: 4097, local: "10.77.0.99", port: 4789, through: "" } },
      "device vx4097 sends VXLAN 4097 from 10.77.0.99:4789 instead of 4097 from 10.77.0.11:4789",
    ],
  ] as const) {
    it(`tells a device by ${what}`, () => {
      deepEqual(differences({ links: [{ ...tunnel, ...link }] }), [told]);
    });
  }

  it("tells a device that is switched off, and a setting that was changed", () => {
    const seen = { settings: [["net/ipv4/ip_forward", "0"]] as const };
    deepEqual(differences(seen, { down: ["vx4097"] }), [
      "device vx4097 is switched off",
      "the setting net/ipv4/ip_forward is 0 instead of 1",
    ]);
  });

  it("leaves devices out that are not asked about", () => {
    deepEqual(differences({ links: [], addresses: [] }, { devices: ["gw0"] }), [
      "gw0 has no address 172.18.0.1/16",
    ]);
  });
});
