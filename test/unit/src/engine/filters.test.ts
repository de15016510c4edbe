/**
 * Filters of lists: forms, keys, matching; and those of networks and events.
 */
import assert from "node:assert/strict";
import { isWanted } from "../../../../src/engine/events.ts";
import {
  matchesExactly,
  matchesLabels,
  matchesPart,
  matchesPrefix,
  parseFilters,
  wordsFor,
} from "../../../../src/engine/filters.ts";
import { matcherFrom, type NetworkFacts } from "../../../../src/engine/network-filter.ts";
import type { EventMessage } from "../../../../src/engine/translate/event.ts";

const parse = (value: unknown, ...keys: string[]) => parseFilters(JSON.stringify(value), keys);

describe("src/engine/filters", () => {
  it("reads both forms and nothing", () => {
    assert.deepEqual(parse({ name: { web: true, db: true } }, "name").get("name"), ["web", "db"]);
    assert.deepEqual(parse({ name: ["web"] }, "name").get("name"), ["web"]);
    assert.equal(parseFilters(null, []).size, 0);
    assert.equal(parseFilters("", []).size, 0);
  });

  it("matches alternatives within a key", () => {
    const filters = parse({ name: ["we", "db"] }, "name");
    assert.ok(matchesPrefix(filters, "name", "web"));
    assert.ok(!matchesPrefix(filters, "name", "cache"));
    assert.ok(matchesExactly(filters, "name", "db"));
    assert.ok(!matchesExactly(filters, "name", "web"));
    assert.ok(matchesPart(filters, "name", "my-web"));
    for (const matches of [matchesPrefix, matchesExactly, matchesPart])
      assert.ok(matches(filters, "other", "anything"));
  });

  it("wants every label, by key or with its value", () => {
    const labels = { a: "1", b: "" };
    const cases = [
      [["a"], true],
      [["a=1"], true],
      [["a=2"], false],
      [["a=1", "b"], true],
      [["a=1", "c"], false],
      [["a="], true],
      [["toString"], false],
    ] as const;
    for (const [wanted, expected] of cases)
      assert.equal(
        matchesLabels(parse({ label: wanted }, "label"), "label", labels),
        expected,
        String(wanted),
      );
  });

  it("takes words of a closed list in any case", () => {
    const filters = parse({ role: ["MANAGER", ""] }, "role");
    assert.deepEqual(wordsFor(filters, "role", ["worker", "manager"]), ["manager"]);
    assert.throws(
      () => wordsFor(parse({ role: ["x"] }, "role"), "role", ["worker"]),
      /Invalid role filter: 'x'/,
    );
  });
});

describe("src/engine/network-filter", () => {
  const bridge: NetworkFacts = {
    id: "b1",
    name: "bridge",
    driver: "bridge",
    scope: "local",
    labels: {},
    createdAtMs: 0,
    inUse: () => false,
  };
  const back: NetworkFacts = {
    id: "o1",
    name: "shop_back",
    driver: "overlay",
    scope: "swarm",
    labels: { a: "b" },
    createdAtMs: 5_000,
    inUse: () => true,
  };
  const idle: NetworkFacts = {
    ...back,
    id: "o2",
    name: "idle",
    inUse: () => false,
    createdAtMs: 9_000,
  };
  const all = [bridge, back, idle];
  const keys = ["dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until"];
  const names = (filters: unknown) =>
    all.filter(matcherFrom(parse(filters, ...keys), 10_000)).map(({ name }) => name);

  it("finds networks by every key", () => {
    const cases = [
      [{}, ["bridge", "shop_back", "idle"]],
      [{ driver: ["overlay"] }, ["shop_back", "idle"]],
      [{ scope: ["local"] }, ["bridge"]],
      [{ name: ["back"] }, ["shop_back"]],
      [{ id: ["o"] }, ["shop_back", "idle"]],
      [{ label: ["a=b"] }, ["shop_back", "idle"]],
      [{ "label!": ["a"] }, ["bridge"]],
      [{ type: ["builtin"] }, ["bridge"]],
      [{ type: ["custom"] }, ["shop_back", "idle"]],
      [{ dangling: ["true"] }, ["idle"]],
      [{ dangling: ["0"] }, ["bridge", "shop_back"]],
      [{ until: ["6"] }, ["bridge", "shop_back"]],
      [{ until: ["4s"] }, ["bridge", "shop_back"]],
    ] as const;
    for (const [filters, expected] of cases)
      assert.deepEqual(names(filters), expected, JSON.stringify(filters));
  });

  it("refuses values it does not know", () => {
    for (const filters of [
      { dangling: ["maybe"] },
      { dangling: ["1", "0"] },
      { type: ["weird"] },
      { until: ["soon"] },
      { until: ["1", "2"] },
    ])
      assert.throws(() => names(filters), { code: "invalid-argument" }, JSON.stringify(filters));
  });
});

describe("src/engine/events isWanted", () => {
  const event: EventMessage = {
    Type: "service",
    Action: "update",
    Actor: { ID: "abc", Attributes: { name: "web" } },
    scope: "swarm",
    time: 1,
    timeNano: 1e9,
  };
  const keys = ["type", "event", "scope", "label", "service", "node", "secret"];

  it("matches type, action, scope, and objects by id or name", () => {
    const cases = [
      [{}, true],
      [{ type: ["service", "node"] }, true],
      [{ type: ["node"] }, false],
      [{ event: ["update"] }, true],
      [{ event: ["create"] }, false],
      [{ scope: ["swarm"] }, true],
      [{ scope: ["local"] }, false],
      [{ service: ["web"] }, true],
      [{ service: ["ab"] }, true],
      [{ service: ["db"] }, false],
      [{ node: ["web"] }, false],
      [{ label: ["name=web"] }, true],
    ] as const;
    for (const [filters, expected] of cases)
      assert.equal(isWanted(event, parse(filters, ...keys)), expected, JSON.stringify(filters));
  });
});
