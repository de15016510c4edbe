/**
 * How new connections spread over backends: evenly, and with few moves when backends change.
 */
import { strict as assert } from "node:assert";
import { balance, densePlaces } from "../../../../../agent/network/nft/balance.ts";

const place = { mapName: "m", previous: undefined, port: 0, family: 4 } as const;

describe("agent/network/nft/balance.ts", () => {
  it("writes few backends into the rule", () => {
    const { statement, map } = balance(
      { addresses: ["10.0.0.2", "10.0.0.1"], affinity: false },
      place,
    );
    assert.equal(statement, "dnat ip to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }");
    assert.equal(map, undefined);
  });

  it("spreads source addresses evenly over backends that keep them", () => {
    const shares = sharesOf(affinity(4));
    for (const share of shares.values()) assert.ok(Math.abs(share - 256) < 64, `${share}`);
  });

  it("moves only the share of a backend that is gone", () => {
    const before = affinity(4);
    const after = affinity(3);
    const moved = before.filter(
      (address, slot) => address !== "10.0.0.4" && address !== after[slot],
    );
    assert.deepEqual(moved, []);
  });

  it("keeps slots dense and backends in their slots", () => {
    const before = [
      ["0", "a"],
      ["1", "b"],
      ["2", "c"],
      ["3", "d"],
    ] as const;
    assert.deepEqual(densePlaces(before, ["a", "c", "d"]), ["a", "d", "c"]);
    assert.deepEqual(densePlaces(before, ["a", "b", "c", "d", "e"]), ["a", "b", "c", "d", "e"]);
    assert.deepEqual(densePlaces(before, ["e", "b", "c", "d"]), ["e", "b", "c", "d"]);
    assert.deepEqual(densePlaces(before, []), []);
  });
});

function affinity(count: number): string[] {
  const addresses = Array.from({ length: count }, (_, n) => `10.0.0.${n + 1}`);
  const { statement } = balance({ addresses, affinity: true }, place);
  return [...statement.matchAll(/ : ([\d.]+)/g)].map((match) => match[1] ?? "");
}

function sharesOf(slots: readonly string[]): Map<string, number> {
  const shares = new Map<string, number>();
  for (const address of slots) shares.set(address, (shares.get(address) ?? 0) + 1);
  return shares;
}
