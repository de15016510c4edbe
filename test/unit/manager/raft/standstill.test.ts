/** When managers that lost their logs can have no leader any more, and what they say then. */
import assert from "node:assert/strict";
import { type KnownManager, standstillText } from "../../../../manager/raft/standstill.ts";

function manager(nodeId: string, lost: boolean | undefined, state = 0): KnownManager {
  return { nodeId, address: `${nodeId}:2377`, lost, state };
}

describe("manager/raft/standstill", () => {
  const goesOn: readonly (readonly [string, readonly KnownManager[]])[] = [
    ["nobody lost anything", [manager("a", false), manager("b", undefined)]],
    ["one of three lost its log", [manager("a", true), manager("b", false), manager("c", false)]],
    [
      "those that are away may come back",
      [manager("a", true), manager("b", undefined), manager("c", undefined)],
    ],
  ];
  for (const [fact, managers] of goesOn) {
    it(`says nothing while ${fact}`, () => assert.equal(standstillText(managers, "a"), undefined));
  }

  const standsStill: readonly (readonly [string, readonly KnownManager[], RegExp])[] = [
    [
      "both lost their logs: the newest state wins",
      [manager("a", true, 5), manager("b", true, 7)],
      /2 of 2 lost their raft logs \(a, b\).*--force-new-cluster" on node b \(b:2377\), /,
    ],
    [
      "this node has the newest state",
      [manager("a", true, 8), manager("b", true, 7)],
      /on this node \(a\), /,
    ],
    [
      "one of two lost its log: the whole one wins",
      [manager("a", true, 7), manager("b", false, 7)],
      /1 of 2 .* on node b \(b:2377\), /,
    ],
    [
      "one of two lost its log and the other is away",
      [manager("a", true, 7), manager("b", undefined)],
      /on this node \(a\), .*; node b \(b:2377\) has not been heard of: bring it back first/,
    ],
    [
      "two of three lost theirs",
      [manager("a", true, 7), manager("b", true, 6), manager("c", false, 9)],
      /2 of 3 lost their raft logs \(a, b\).* on node c /,
    ],
  ];
  for (const [fact, managers, text] of standsStill) {
    it(`says what to do when ${fact}`, () =>
      assert.match(standstillText(managers, "a") ?? "", text));
  }
});
