/**
 * What of a listing counts as drift.
 */
import { strict as assert } from "node:assert";
import { driftOf, readListing } from "../../../../../agent/network/nft/listing.ts";
import type { Table } from "../../../../../agent/network/nft/table.ts";

const table: Table = {
  family: "inet",
  name: "t",
  sets: new Map([
    [
      "s",
      {
        kind: "set",
        header: "type ipv4_addr",
        elements: new Map([
          ["1.1.1.1", ""],
          ["2.2.2.2", ""],
        ]),
      },
    ],
  ]),
  chains: new Map([["c", { hook: "", rules: ["drop"] }]]),
};

describe("agent/network/nft/listing.ts", () => {
  it("finds nothing in a table that is as it was made", () => {
    assert.equal(driftOf(table, readListing(listed({})), undefined), undefined);
  });

  it("tells equal content from handles, counters and the order of elements", () => {
    const { digest } = readListing(listed({}));
    const other = readListing(listed({ handle: 9, packets: 5, elements: ["2.2.2.2", "1.1.1.1"] }));
    assert.equal(other.digest, digest);
    assert.equal(driftOf(table, other, digest), undefined);
  });

  it("tells equal content from the order in which chains and sets were made", () => {
    const { nftables } = JSON.parse(listed({ chains: 3 })) as { nftables: object[] };
    const other = readListing(JSON.stringify({ nftables: nftables.reverse() }));
    assert.equal(other.digest, readListing(listed({ chains: 3 })).digest);
  });

  for (const [what, listing, found] of [
    ["a chain that is gone", listed({ chains: 0 }), "chain c is gone"],
    ["a rule more", listed({ rules: 2 }), "chain c has 2 rules instead of 1"],
    ["an element less", listed({ elements: ["1.1.1.1"] }), "set s has 1 elements instead of 2"],
    ["a rule that is another", listed({ verdict: "accept" }), "a rule is another"],
    ["a chain of others", listed({ chains: 2 }), "chain c1 is not ours"],
  ] as const) {
    it(`finds ${what}`, () => {
      const { digest } = readListing(listed({}));
      assert.equal(driftOf(table, readListing(listing), digest), found);
    });
  }
});

function listed(o: {
  handle?: number;
  packets?: number;
  elements?: string[];
  chains?: number;
  rules?: number;
  verdict?: string;
}): string {
  const of = { family: "inet", table: "t", handle: o.handle ?? 1 };
  const repeat = <T>(count: number, make: (index: number) => T) =>
    Array.from({ length: count }, (_, index) => make(index));
  return JSON.stringify({
    nftables: [
      { metainfo: { version: "1.0.6" } },
      { table: { family: "inet", name: "t", handle: o.handle ?? 1 } },
      { set: { ...of, name: "s", type: "ipv4_addr", elem: o.elements ?? ["1.1.1.1", "2.2.2.2"] } },
      ...repeat(o.chains ?? 1, (n) => ({ chain: { ...of, name: n === 0 ? "c" : `c${n}` } })),
      ...repeat(o.chains === 0 ? 0 : (o.rules ?? 1), () => ({
        rule: {
          ...of,
          chain: "c",
          expr: [
            { counter: { packets: o.packets ?? 0, bytes: 0 } },
            { [o.verdict ?? "drop"]: null },
          ],
        },
      })),
    ],
  });
}
