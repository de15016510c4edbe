/**
 * Services that share maps: what one backend more or less changes, and that others do not matter.
 */
import { strict as assert } from "node:assert";
import { slotsOf } from "../../../../../agent/network/nft/slots.ts";
import { tableChange } from "../../../../../agent/network/nft/table.ts";
import { type TaskTable, taskTable } from "../../../../../agent/network/nft/task-table.ts";

const many = Array.from({ length: 1_000 }, (_, n) => `10.1.${n >> 8}.${n & 255}`).sort();

describe("agent/network/nft/slots.ts", () => {
  it("changes a service by a slot or two and another rule, however many backends it has", () => {
    const before = table({ "10.0.1.2": many });
    const after = table({ "10.0.1.2": many.filter((one) => one !== many[7]) }, before);
    assert.deepEqual(tableChange(before, after).split("\n"), [
      "add chain inet skep to_999",
      "add rule inet skep to_999 dnat ip to ip daddr . numgen random mod 999 map @slots",
      "delete element inet skep slots { 10.0.1.2 . 7, 10.0.1.2 . 999 }",
      `add element inet skep slots { 10.0.1.2 . 7 : ${many.at(-1)} }`,
      "delete element inet skep vips { 10.0.1.2 }",
      "add element inet skep vips { 10.0.1.2 : jump to_999 }",
      "flush chain inet skep to_1000",
      "delete chain inet skep to_1000",
      "",
    ]);
  });

  it("has as many rules for a thousand services as they have numbers of backends", () => {
    const services = Object.fromEntries(
      many.map((one, n) => [one, n % 2 ? ["10.2.0.1"] : many.slice(0, 3)]),
    );
    const { chains } = table(services);
    const names = [...chains.keys()].filter((name) => name.startsWith("to"));
    assert.deepEqual(names.sort(), ["to_1", "to_3"]);
  });

  it("names nothing of other services in a change of one", () => {
    const services = Object.fromEntries(many.map((one) => [one, ["10.2.0.1", "10.2.0.2"]]));
    const before = table(services);
    const after = table({ ...services, "10.1.0.9": ["10.2.0.1"] }, before);
    const text = tableChange(before, after);
    assert.match(text, /delete element inet skep slots \{ 10\.1\.0\.9 \. 1 \}/);
    assert.doesNotMatch(text, /10\.1\.0\.8/);
  });

  it("keeps slots that others come to, and the object of a service that stays the same", () => {
    const before = slotsOf(["10.0.0.1", "10.0.0.2"], undefined);
    assert.deepEqual(slotsOf(["10.0.0.0", "10.0.0.1", "10.0.0.2"], before).places, [
      ...["10.0.0.1", "10.0.0.2", "10.0.0.0"],
    ]);
    assert.equal(slotsOf(["10.0.0.1", "10.0.0.2"], before), before);
  });

  it("leads back to the first slot who meets new maps by old rules", () => {
    const rules = table({}).chains.get("c_out")?.rules ?? [];
    assert.deepEqual(rules.slice(-2), [
      "dnat ip to ip daddr . numgen random mod 1 map @slots",
      "dnat ip6 to ip6 daddr . numgen random mod 1 map @slots6",
    ]);
  });
});

function table(services: Readonly<Record<string, readonly string[]>>, before?: TaskTable) {
  const list = Object.entries(services).map(([address, backends]) => ({
    address,
    backends,
    affinity: false,
  }));
  return taskTable({ services: list, dns: undefined }, before);
}
