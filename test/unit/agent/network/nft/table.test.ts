/**
 * Transactions name what differs, in an order the kernel takes.
 */
import { strict as assert } from "node:assert";
import {
  noTable,
  type Table,
  tableChange,
  wholeTable,
} from "../../../../../agent/network/nft/table.ts";

describe("agent/network/nft/table.ts", () => {
  it("says nothing when nothing differs", () => {
    assert.equal(tableChange(table({}), table({})), "");
  });

  it("removes a table that may not be there", () => {
    assert.equal(noTable(table({})), "add table inet t\ndelete table inet t\n");
  });

  it("replaces only the rules of the chain that differs", () => {
    const before = table({ chains: { one: ["accept"], two: ["drop"] } });
    const after = table({ chains: { one: ["accept"], two: ["reject", "drop"] } });
    assert.equal(
      tableChange(before, after),
      lines("flush chain inet t two", "add rule inet t two reject", "add rule inet t two drop"),
    );
  });

  it("touches only the elements that differ", () => {
    const before = table({ elements: { 0: "10.0.0.1", 1: "10.0.0.2", 2: "10.0.0.3" } });
    const after = table({ elements: { 0: "10.0.0.1", 1: "10.0.0.3" } });
    assert.equal(
      tableChange(before, after),
      lines("delete element inet t s { 1, 2 }", "add element inet t s { 1 : 10.0.0.3 }"),
    );
  });

  it("makes what is led to before, and removes it after, what leads to it", () => {
    const before = table({ chains: { old: ["accept"] }, elements: { a: "goto old" } });
    const after = table({ chains: { fresh: ["drop"] }, elements: { a: "goto fresh" } });
    assert.equal(
      tableChange(before, after),
      lines(
        "add chain inet t fresh",
        "add rule inet t fresh drop",
        "delete element inet t s { a }",
        "add element inet t s { a : goto fresh }",
        "flush chain inet t old",
        "delete chain inet t old",
      ),
    );
  });

  it("makes the table anew when a declaration differs", () => {
    const before = table({ elements: {} });
    const after = table({ elements: {}, header: "type ipv6_addr : verdict" });
    assert.equal(tableChange(before, after), wholeTable(after));
  });
});

function table(o: {
  chains?: Record<string, string[]>;
  elements?: Record<string, string>;
  header?: string;
}): Table {
  const header = o.header ?? "type ipv4_addr : verdict";
  const elements = new Map(Object.entries(o.elements ?? {}));
  return {
    family: "inet",
    name: "t",
    sets: new Map([["s", { kind: "map", header, elements }]]),
    chains: new Map(
      Object.entries(o.chains ?? {}).map(([name, rules]) => [name, { hook: "", rules }]),
    ),
  };
}

function lines(...all: string[]): string {
  return `${all.join("\n")}\n`;
}
