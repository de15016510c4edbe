/**
 * Which rules of others are in the way of containers, and what is done about them.
 */
import { strict as assert } from "node:assert";
import {
  barrierText,
  closesForward,
  forwardChains,
  forwardRulesToRemove,
  missingForwardRules,
} from "../../../../../agent/network/nft/forward-rules.ts";

const rules = { device: "sk0a1b-up", tag: "skep_0a1b" };
const ours = (chain: string, way: string) =>
  `-A ${chain} ${way} sk0a1b-up -m comment --comment skep_0a1b -j ACCEPT`;

describe("agent/network/nft/forward-rules.ts", () => {
  it("sees chains of others that are closed by policy or by their last rule", () => {
    const chain = (table: string, policy: string, name = "FORWARD") => ({
      chain: { family: "ip", table, name, type: "filter", hook: "forward", policy },
    });
    const rule = (table: string, expr: object[]) => ({
      rule: { family: "ip", table, chain: "FORWARD", expr },
    });
    const found = forwardChains(
      JSON.stringify({
        nftables: [
          chain("filter", "drop"),
          { chain: { family: "ip", table: "filter", name: "DOCKER-USER" } },
          chain("last", "accept"),
          rule("last", [{ match: {} }, { drop: null }]),
          rule("last", [{ counter: {} }, { reject: {} }]),
          chain("iptables", "accept"),
          rule("iptables", [{ counter: {} }, { xt: { type: "target", name: "REJECT" } }]),
          chain("conditions", "accept"),
          rule("conditions", [{ match: {} }, { drop: null }]),
          chain("skep_0a1b_guard", "drop"),
          { chain: { family: "ip", table: "n", name: "o", type: "nat", hook: "output" } },
        ],
      }),
      "skep_0a1b",
    );
    assert.deepEqual(
      found.map(({ table, closed, hasDockerUser }) => [table, closed, hasDockerUser]),
      [
        ["filter", true, true],
        ["last", true, false],
        ["iptables", true, false],
        ["conditions", false, false],
      ],
    );
  });

  const cases = [
    ["an open host", "-P FORWARD ACCEPT\n", false, "FORWARD"],
    ["ufw", "-P FORWARD DROP\n-A FORWARD -j ufw-before-forward\n", true, "FORWARD"],
    ["a last rule", "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with x\n", true, "FORWARD"],
    [
      "Docker",
      "-P FORWARD DROP\n-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\n",
      true,
      "DOCKER-USER",
    ],
    ["Docker's leftovers", "-P FORWARD DROP\n-N DOCKER-USER\n", true, "FORWARD"],
  ] as const;
  for (const [name, listing, closes, chain] of cases) {
    it(`knows where rules belong: ${name}`, () => {
      assert.equal(closesForward(listing), closes);
      const [first] = missingForwardRules(listing, rules);
      const words = "-m comment --comment skep_0a1b -j ACCEPT";
      assert.equal(first?.join(" "), `-I ${chain} -i sk0a1b-up ${words}`);
    });
  }

  it("adds only what is missing", () => {
    const listing = `-P FORWARD DROP\n${ours("FORWARD", "-i")}\n`;
    assert.deepEqual(
      missingForwardRules(listing, rules).map((call) => call[2]),
      ["-o"],
    );
    assert.deepEqual(missingForwardRules(`${listing}${ours("FORWARD", "-o")}\n`, rules), []);
  });

  it("takes away its own rules only", () => {
    const listing = [
      "-A FORWARD -i sk0a1b-up -j ACCEPT",
      ours("FORWARD", "-i").replace("skep_0a1b", "skep_9999"),
      ours("DOCKER-USER", "-o"),
    ].join("\n");
    assert.deepEqual(
      forwardRulesToRemove(listing, rules).map((call) => call.join(" ")),
      ["-D DOCKER-USER -o sk0a1b-up -m comment --comment skep_0a1b -j ACCEPT"],
    );
  });

  it("says what to do about chains of nftables", () => {
    const text = barrierText(
      { family: "inet", table: "filter", chain: "forward", closed: true, hasDockerUser: false },
      "sk0a1b-up",
    );
    assert.match(text, /^chain forward of table inet filter drops /);
    assert.match(text, /nft insert rule inet filter forward iifname "sk0a1b-up" accept/);
  });
});
