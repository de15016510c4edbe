/**
 * Tables of each kind, whose texts are kept in `golden/`: for the tests of the texts, and for the one that hands them to the
 * kernel.
 */
import type { GuardRules, PortRules } from "../../../../../agent/network/nft/host-tables.ts";
import { guardTable, portTable } from "../../../../../agent/network/nft/host-tables.ts";
import {
  type MeshRules,
  meshTable,
  returnTable,
} from "../../../../../agent/network/nft/mesh-table.ts";
import type { Table } from "../../../../../agent/network/nft/table.ts";
import { taskTable } from "../../../../../agent/network/nft/task-table.ts";

const entrance = { address: "172.19.0.2", address6: "fd19::2" };

/** A node among three, with ports of each protocol. */
export const meshRules: MeshRules = {
  names: { mesh: "skep_0a1b_mesh", return: "skep_0a1b_return" },
  devices: {
    uplink: "up0",
    gateway: "gw0",
    mesh: "vx-ing",
    bridges: [
      { device: "sk0a1b-b1", internal: false },
      { device: "sk0a1b-b2", internal: true },
    ],
  },
  entrance,
  peers: [2, 300],
  ports: [
    {
      protocol: "tcp",
      published: 8080,
      target: 80,
      backends: ["10.255.0.3", "10.255.0.9", "fd55::aff:3", "fd55::aff:9"],
      affinity: false,
      sourceNat: false,
    },
    {
      protocol: "udp",
      published: 5300,
      target: 53,
      backends: ["10.255.0.4"],
      affinity: false,
      sourceNat: true,
    },
    {
      protocol: "sctp",
      published: 9000,
      target: 9000,
      backends: ["fd55::aff:5"],
      affinity: false,
      sourceNat: false,
    },
    {
      protocol: "tcp",
      published: 8081,
      target: 80,
      backends: [],
      affinity: false,
      sourceNat: false,
    },
  ],
  inner: ["10.255.0.0/16", "fd55::/64"],
  outward: ["10.255.0.3", "172.18.0.7", "fd55::aff:3"],
  dns: { address: "172.18.0.1", port: 5353 },
};

/** Ports bound in every way. */
export const portRules: PortRules = {
  name: "skep_0a1b_ports",
  uplink: "sk0a1b-up",
  entrance,
  published: [
    { protocol: "tcp", port: 8080, at: undefined },
    { protocol: "udp", port: 5300, at: "10.77.0.1" },
    { protocol: "tcp", port: 5301, at: "fd77::1" },
    { protocol: "sctp", port: 9000, at: "eth1" },
  ],
  bindings: [
    {
      protocol: "tcp",
      hostAddress: "",
      hostPort: 81,
      addresses: ["172.18.0.7", "fd18::7"],
      containerPort: 80,
    },
    {
      protocol: "tcp",
      hostAddress: "127.0.0.1",
      hostPort: 82,
      addresses: ["172.18.0.7", "fd18::7"],
      containerPort: 80,
    },
    {
      protocol: "udp",
      hostAddress: "0.0.0.0",
      hostPort: 83,
      addresses: ["172.18.0.7", "fd18::7"],
      containerPort: 80,
    },
    {
      protocol: "udp",
      hostAddress: "fd77::1",
      hostPort: 84,
      addresses: ["172.18.0.7", "fd18::7"],
      containerPort: 80,
    },
  ],
  untranslated: ["172.30.0.0/16"],
};

/** Nodes over IPv4 and IPv6. */
export const guardRules: GuardRules = {
  name: "skep_0a1b_guard",
  uplink: "sk0a1b-up",
  wireguard: "sk0a1b-wg",
  ports: { plain: 4789, secure: 4790 },
  peers: ["10.77.0.1", "10.77.0.2", "fd77::3"],
};

const many: MeshRules = {
  ...meshRules,
  peers: Array.from({ length: 101 }, (_, index) => index + 1),
  ports: [],
};

/** Name of the golden file and table. */
export const cases: readonly (readonly [string, Table])[] = [
  ["task-empty", taskTable({ services: [], dns: undefined })],
  [
    "task",
    taskTable({
      services: [
        { address: "10.0.1.2", backends: ["10.0.1.13", "10.0.1.12"], affinity: false },
        { address: "fd00::2", backends: ["fd00::d"], affinity: false },
        { address: "10.0.1.3", backends: [], affinity: false },
        { address: "fd00::3", backends: [], affinity: true },
      ],
      dns: { address: "172.18.0.1", port: 5353 },
    }),
  ],
  ["mesh", meshTable(meshRules)],
  ["mesh-alone", meshTable({ ...meshRules, devices: { ...meshRules.devices, mesh: undefined } })],
  ["mesh-many-nodes", meshTable(many)],
  ["mesh-many-nodes-return", returnTable(many) ?? fail()],
  ["ports", portTable(portRules)],
  ["guard", guardTable(guardRules)],
  ["guard-without-wireguard", guardTable({ ...guardRules, wireguard: undefined })],
];

function fail(): never {
  throw new Error("there is no table");
}
