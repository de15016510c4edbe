/** Facts about the table of members and the rules for changing it. */
import assert from "node:assert/strict";
import { emptyConfState, type ProgressStatus } from "../../../../manager/raft/core/types.ts";
import {
  appliedChange,
  canRemove,
  type Membership,
  membershipFromMeta,
  metaFromMembership,
  successor,
} from "../../../../manager/raft/membership.ts";

const member = (raftId: number) => ({ raftId, nodeId: `n${raftId}`, address: `a${raftId}:1` });
const voters = (...ids: number[]) => ({ ...emptyConfState, voters: ids });
function group(...ids: number[]): Membership {
  const members = new Map(ids.map((id) => [id, member(id)]));
  return { index: 1, confState: voters(...ids), members, removed: [] };
}

describe("manager/raft/membership", () => {
  it("keeps a member while either half of a joint configuration has it", () => {
    const joint = { ...voters(1, 2), votersOutgoing: [1, 2, 3], autoLeave: true };
    const during = appliedChange(group(1, 2, 3), { index: 5, confState: joint, members: [] });
    assert.deepEqual([...during.members.keys()], [1, 2, 3]);
    const after = appliedChange(during, { index: 6, confState: voters(1, 2), members: [] });
    assert.deepEqual([...after.members.keys()], [1, 2]);
    assert.deepEqual(after.removed, [3]);
    assert.equal(after.index, 6);
  });

  it("remembers a bounded number of removed members", () => {
    let now = group(1);
    for (let id = 2; id < 1_100; id++) {
      const learners = { ...voters(1), learners: [id] };
      now = appliedChange(now, { index: id, confState: learners, members: [member(id)] });
      now = appliedChange(now, { index: id, confState: voters(1), members: [] });
    }
    assert.equal(now.removed.length, 1_000);
    assert.equal(now.removed.at(-1), 1_099);
  });

  it("comes back from what is stored", () => {
    const now = group(3, 1, 2);
    assert.deepEqual(membershipFromMeta(metaFromMembership(now)).confState, now.confState);
    assert.equal(membershipFromMeta(metaFromMembership(now)).members.get(2)?.address, "a2:1");
  });

  it("refuses a removal exactly when the reachable rest is no quorum", () => {
    const cases: [ids: number[], remove: number, reachable: number[], allowed: boolean][] = [
      [[1], 1, [1], false],
      [[1, 2], 2, [1], true],
      [[1, 2], 2, [1, 2], true],
      [[1, 2, 3], 3, [1, 2], true],
      [[1, 2, 3], 2, [1, 2], false],
      [[1, 2, 3], 3, [1, 2, 3], true],
      [[1, 2, 3, 4, 5], 5, [1, 2, 3, 5], true],
      [[1, 2, 3, 4, 5], 3, [1, 2, 3], false],
    ];
    for (const [ids, remove, reachable, allowed] of cases) {
      const name = `${ids} less ${remove}, ${reachable} reachable`;
      assert.equal(canRemove(voters(...ids), remove, new Set(reachable)), allowed, name);
    }
  });

  it("lets a learner go at any time", () => {
    assert.equal(canRemove({ ...voters(1, 2, 3), learners: [4] }, 4, new Set([1])), true);
  });

  it("prefers the reachable voter that is furthest", () => {
    const at = (match: number) => ({ match }) as ProgressStatus;
    const progress = new Map([
      [2, at(5)],
      [3, at(9)],
      [4, at(7)],
    ]);
    const choose = (...reachable: number[]) =>
      successor(voters(1, 2, 3, 4), 1, { reachable: new Set(reachable), progress });
    assert.equal(choose(1, 2, 3, 4), 3);
    assert.equal(choose(1, 2, 4), 4);
    assert.equal(choose(1), undefined);
  });
});
