/**
 * Chains of others that keep packets back.
 */
import { deepEqual } from "node:assert/strict";
import { foreignChains } from "../../../../../agent/network/explain/foreign.ts";

interface Chain {
  readonly table?: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
  readonly rules?: readonly (readonly object[])[];
}

function ruleset(...chains: readonly Chain[]): string {
  const nftables: object[] = [];
  for (const { table = "wall", name, hook, policy, rules = [] } of chains) {
    const base = hook === undefined ? {} : { type: "filter", hook, policy: policy ?? "accept" };
    nftables.push({ chain: { family: "inet", table, name, ...base } });
    for (const expr of rules) nftables.push({ rule: { family: "inet", table, chain: name, expr } });
  }
  return JSON.stringify({ nftables });
}

const match = { match: { op: "==", left: {}, right: 4789 } };

describe("agent/network/explain/foreign", () => {
  for (const [what, chains, drops] of [
    ["by its policy", [{ name: "c", hook: "input", policy: "drop" }], "rest"],
    [
      "by its last rule",
      [{ name: "c", hook: "input", rules: [[{ counter: {} }, { reject: null }]] }],
      "rest",
    ],
    ["some packets", [{ name: "c", hook: "input", rules: [[match, { drop: null }]] }], "some"],
    [
      "some packets through another chain",
      [
        { name: "c", hook: "input", rules: [[{ jump: { target: "d" } }]] },
        { name: "d", rules: [[{ goto: { target: "c" } }], [match, { drop: null }]] },
      ],
      "some",
    ],
  ] as const) {
    it(`finds a chain that drops ${what}`, () => {
      const found = foreignChains(ruleset(...chains));
      deepEqual(found, [{ family: "inet", table: "wall", chain: "c", hook: "input", drops }]);
    });
  }

  it("leaves chains that let all pass, those without a hook, and those of daemons of ours", () => {
    const drop = [[match, { drop: null }]];
    const text = ruleset(
      { name: "open", hook: "input", rules: [[match, { accept: null }]] },
      { name: "aside", rules: drop },
      { table: "skep_0a1b_guard", name: "c_input", hook: "input", rules: drop },
    );
    deepEqual(foreignChains(text), []);
  });
});
