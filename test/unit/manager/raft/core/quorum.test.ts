/** Quorums against a direct reading of their definition, on random input. */
import assert from "node:assert/strict";
import { jointIndex, jointVote, majorityIndex } from "../../../../../manager/raft/core/quorum.ts";
import { type Random, seededRandom } from "../../../../../src/common/random/random.ts";

describe("manager/raft/core/quorum", () => {
  it("gives the highest index that more than half have acknowledged", () => {
    const random = seededRandom(1);
    for (let round = 0; round < 2000; round++) {
      const voters = someIds(random, 9);
      const acked = new Map(someIds(random, 9).map((id) => [id, random.int(6)]));
      const count = (index: number) => voters.filter((id) => (acked.get(id) ?? 0) >= index).length;
      const index = majorityIndex(voters, (id) => acked.get(id));
      if (voters.length === 0) {
        assert.equal(index, Number.POSITIVE_INFINITY);
        continue;
      }
      assert.ok(count(index) * 2 > voters.length);
      assert.ok(count(index + 1) * 2 <= voters.length);
    }
  });

  it("commits in the joint phase only what both halves have", () => {
    const acked = new Map([
      [1, 9],
      [2, 9],
      [3, 4],
      [4, 4],
    ]);
    const at = (id: number) => acked.get(id);
    assert.equal(jointIndex([1, 2], [1, 3, 4], at), 4);
    assert.equal(jointIndex([1, 2], [], at), 9);
  });

  it("needs both halves to win and one to lose", () => {
    const votes = new Map([
      [1, true],
      [2, true],
      [3, false],
    ]);
    assert.equal(jointVote([1, 2], [1, 2, 3], votes), "won");
    assert.equal(jointVote([1, 2], [3, 4], votes), "lost");
    assert.equal(jointVote([1, 2], [1, 4, 5], votes), "pending");
    assert.equal(jointVote([], [], new Map()), "won");
  });
});

function someIds(random: Random, below: number): number[] {
  return Array.from({ length: below }, (_, at) => at + 1).filter(() => random.int(2) === 1);
}
