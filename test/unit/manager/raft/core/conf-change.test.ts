/** Configuration changes: what they lead to, what is refused, and that random chains keep their promises. */
import assert from "node:assert/strict";
import {
  changeMembers,
  isJoint,
  type Members,
  membersFromConfState,
} from "../../../../../manager/raft/core/conf-change.ts";
import {
  type ConfChange,
  type ConfState,
  emptyConfState,
  leaveJoint,
} from "../../../../../manager/raft/core/types.ts";
import { ClusterError } from "../../../../../src/common/errors/cluster-error.ts";
import { type Random, seededRandom } from "../../../../../src/common/random/random.ts";
import { parseSteps } from "../../../../support/raft/change-data.ts";
import { describeConfig } from "../../../../support/raft/describe.ts";

const fresh = {
  lastIndex: 10,
  limits: { maxInflightMsgs: 1, maxInflightBytes: Number.POSITIVE_INFINITY },
};

describe("manager/raft/core/conf-change", () => {
  const table: readonly [string, Partial<ConfState>, string, string][] = [
    ["adds a voter", { voters: [1] }, "v2", "voters=(1 2)"],
    ["adds a learner", { voters: [1] }, "l2", "voters=(1) learners=(2)"],
    ["promotes a learner", { voters: [1], learners: [2] }, "v2", "voters=(1 2)"],
    ["removes a learner", { voters: [1], learners: [2] }, "r2", "voters=(1)"],
    ["goes joint for two steps", { voters: [1, 2] }, "r2 v3", "voters=(1 3)&&(1 2) autoleave"],
    [
      "keeps a demoted voter until the end",
      { voters: [1, 2] },
      "l2 v3",
      "voters=(1 3)&&(1 2) learners_next=(2) autoleave",
    ],
    [
      "swaps a learner for a voter",
      { voters: [1], learners: [2] },
      "v2 r1",
      "voters=(2)&&(1) autoleave",
    ],
    [
      "leaves the joint phase",
      { voters: [1], votersOutgoing: [1, 2], learnersNext: [2] },
      "",
      "voters=(1) learners=(2)",
    ],
  ];
  for (const [what, before, steps, after] of table) {
    it(what, () => {
      const members = membersOf(before);
      const change: ConfChange = { transition: "auto", steps: parseSteps(steps) };
      const changed = changeMembers(members, change, fresh);
      assert.equal(describeConfig(changed.conf), after);
      assert.deepEqual(members.conf, { ...emptyConfState, ...before });
    });
  }

  const refused: readonly [string, Partial<ConfState>, string][] = [
    ["no-voters-left", { voters: [1] }, "r1"],
    ["not-joint", { voters: [1] }, ""],
    ["simple-while-joint", { voters: [1], votersOutgoing: [1, 2] }, "v3"],
    ["already-joint", { voters: [1], votersOutgoing: [1, 2] }, "v3 v4"],
    ["no-voters-yet", {}, "v1 v2"],
  ];
  for (const [reason, before, steps] of refused) {
    it(`refuses ${steps === "" ? "leaving" : steps}: ${reason}`, () => {
      const change: ConfChange = { transition: "auto", steps: parseSteps(steps) };
      assert.throws(
        () => changeMembers(membersOf(before), change, fresh),
        (error) => error instanceof ClusterError && error.fields["reason"] === reason,
      );
    });
  }

  it("comes to the same by one step at a time and by a joint phase", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = seededRandom(seed);
      const start = membersOf({ voters: [1, 2, 3], learners: [4] });
      const steps = randomSteps(random);
      const single = steps.reduce<Members>((members, step) => {
        const change: ConfChange = { transition: "auto", steps: [step] };
        return changeMembers(members, change, fresh);
      }, start);
      const joint = changeMembers(start, { transition: "joint-explicit", steps }, fresh);
      assert.ok(isJoint(joint));
      assert.deepEqual(joint.conf.votersOutgoing, [1, 2, 3]);
      const left = changeMembers(joint, leaveJoint, fresh);
      assert.deepEqual(left.conf, single.conf);
      assert.deepEqual([...left.progress.keys()], [...single.progress.keys()]);
      const again = membersFromConfState(joint.conf, fresh);
      assert.deepEqual(again.conf, joint.conf);
    }
  });

  it("ends the process on a stored configuration that contradicts itself", () => {
    assert.throws(() => membersOf({ voters: [1], learners: [1] }), /raft core/);
    assert.throws(() => membersOf({ voters: [1], learnersNext: [2] }), /raft core/);
  });
});

/** Member 1 always stays a voter, so that there is one. */
function randomSteps(random: Random) {
  const words = Array.from({ length: 1 + random.int(5) }, () => {
    return `${"vlr"[random.int(3)]}${2 + random.int(5)}`;
  });
  return parseSteps(words.join(" "));
}

function membersOf(conf: Partial<ConfState>): Members {
  return membersFromConfState({ ...emptyConfState, ...conf }, fresh);
}
