/**
 * What is told of a table of nftables that is not as planned; listings are as nft 1.0.6 writes them.
 */
import { deepEqual } from "node:assert/strict";
import { compareTable, readTable } from "../../../../../agent/network/explain/tables.ts";
import type { Table } from "../../../../../agent/network/nft/table.ts";

const table: Table = {
  family: "inet",
  name: "skep_mesh",
  sets: new Map([
    [
      "ports",
      {
        kind: "map",
        header: "type inet_proto . inet_service : verdict",
        elements: new Map([["tcp . 8080", "goto tcp_8080"]]),
      },
    ],
    [
      "peer_mark",
      {
        kind: "map",
        header: "type ether_addr : mark",
        elements: new Map([["02:42:0a:fe:00:02", "0x00000002"]]),
      },
    ],
  ]),
  chains: new Map([
    [
      "tcp_8080",
      {
        hook: "",
        rules: [
          "meta nfproto ipv4 meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.255.0.3, 1 : 10.255.0.4 } : 80",
        ],
      },
    ],
  ]),
};

function listing(o: { ports?: unknown[]; mark?: number; backends?: string[]; chain?: string }) {
  const { ports = [[{ concat: ["tcp", 8080] }, { goto: { target: "tcp_8080" } }]], mark = 2 } = o;
  const { backends = ["10.255.0.3", "10.255.0.4"], chain = "tcp_8080" } = o;
  const place = { family: "inet", table: "skep_mesh" };
  const set = { set: backends.map((address, slot) => [slot, address]) };
  const key = { numgen: { mode: "random", mod: backends.length, offset: 0 } };
  return JSON.stringify({
    nftables: [
      { metainfo: { version: "1.0.6" } },
      { table: { family: "inet", name: "skep_mesh", handle: 1 } },
      { map: { ...place, name: "ports", elem: ports } },
      { map: { ...place, name: "peer_mark", elem: [["02:42:0a:fe:00:02", mark]] } },
      { chain: { ...place, name: chain } },
      {
        rule: {
          ...place,
          chain,
          expr: [
            { match: { op: "==", left: { meta: { key: "l4proto" } }, right: "tcp" } },
            { dnat: { family: "ip", addr: { map: { key, data: set } }, port: 80 } },
          ],
        },
      },
    ],
  });
}

describe("agent/network/explain/tables", () => {
  it("finds nothing in a table that is as it was made", () => {
    deepEqual(compareTable(table, readTable(listing({}))), { compared: 4, differences: [] });
  });

  it("reads where a chain leads", () => {
    const { addresses } = readTable(listing({}));
    deepEqual([...(addresses.get("tcp_8080") ?? [])], ["10.255.0.3", "10.255.0.4"]);
  });

  for (const [what, seen, told] of [
    ["a port that was taken out", listing({ ports: [] }), "map ports lacks tcp . 8080"],
    [
      "a mark that was changed",
      listing({ mark: 3 }),
      "map peer_mark has 3 for 02:42:0a:fe:00:02 instead of 2",
    ],
    [
      "a backend that was taken out",
      listing({ backends: ["10.255.0.3"] }),
      "chain tcp_8080 does not lead to 10.255.0.4",
    ],
    [
      "a backend that is no more",
      listing({ backends: ["10.255.0.3", "10.255.0.4", "10.255.0.9"] }),
      "chain tcp_8080 leads to 10.255.0.9, which is not ready",
    ],
  ] as const) {
    it(`names ${what}`, () => {
      deepEqual(compareTable(table, readTable(seen)).differences, [`table skep_mesh: ${told}`]);
    });
  }

  it("names a table and a chain that are missing, and a chain of others", () => {
    deepEqual(compareTable(table, undefined).differences, ["table inet skep_mesh is missing"]);
    deepEqual(compareTable(table, readTable(listing({ chain: "own" }))).differences, [
      "table skep_mesh: chain tcp_8080 is missing",
      "table skep_mesh: chain own is not of Skep",
    ]);
  });
});
