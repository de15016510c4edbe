/**
 * What users write of published ports, and what becomes of it.
 */
import { strict as assert } from "node:assert";
import { portTable } from "../../../../../agent/network/nft/host-tables.ts";
import { wholeTable } from "../../../../../agent/network/nft/table.ts";
import { portRules } from "./cases.ts";

describe("agent/network/nft/host-tables.ts", () => {
  for (const [at, set, element] of [
    ["10.77.0.1", "published_at", "10.77.0.1 . tcp . 80"],
    ["fd77::1", "published_at6", "fd77::1 . tcp . 80"],
    ["eth0.100", "published_on", '"eth0.100" . tcp . 80'],
  ] as const) {
    it(`binds a port to ${at} alone`, () => {
      const { sets } = portTable({ ...portRules, published: [{ protocol: "tcp", port: 80, at }] });
      assert.deepEqual([...(sets.get(set)?.elements.keys() ?? [])], [element]);
      assert.equal(sets.get("published")?.elements.size, 0);
    });
  }

  it("binds a port to nothing where the label is neither address nor device, and runs no part of it", () => {
    const empty = wholeTable(portTable({ ...portRules, published: [] }));
    for (const at of [
      'x" . tcp . 1 }\nflush ruleset\n#',
      "10.0.0.256/8",
      "a-name-that-is-too-long",
    ]) {
      const published = [{ protocol: "tcp", port: 80, at } as const];
      assert.equal(wholeTable(portTable({ ...portRules, published })), empty, at);
    }
  });
});
