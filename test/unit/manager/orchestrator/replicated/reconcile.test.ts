/**
 * Which slots are filled and emptied, from pictures of services.
 *
 * A picture names the slots in order: `r1` runs on node 1, `w` is wanted and does not run, `x` needs a look, `f` had its last
 * task, `d` has only tasks that are shut down, `-` has tasks that are being removed, `.` has none.
 */
import assert from "node:assert/strict";
import {
  reconcile,
  type SlotSummary,
} from "../../../../../manager/orchestrator/replicated/reconcile.ts";
import {
  ReplicatedMode,
  Service,
  ServiceMode,
  ServiceSpec,
} from "../../../../../src/common/api/generated/api.ts";

function slotsOf(picture: string): SlotSummary[] {
  const slots: SlotSummary[] = [];
  for (const [i, word] of picture.split(" ").entries()) {
    if (word === "." || word === "") continue;
    const kind = word[0] ?? "";
    slots.push({
      slot: i + 1,
      isHeld: "rwxf".includes(kind),
      isRunning: kind === "r",
      nodeId: kind === "r" ? `n${word.slice(1)}` : "",
      hasTasks: kind !== "-",
      needsRepair: kind === "x",
    });
  }
  return slots;
}

function steps(replicas: number, picture: string): string {
  const mode = ServiceMode.create({ replicated: ReplicatedMode.create({ replicas }) });
  const service = Service.create({ id: "s", spec: ServiceSpec.create({ mode }) });
  const { fill, empty, repair } = reconcile(service, slotsOf(picture));
  const parts = [
    ["fill", fill],
    ["empty", empty],
    ["repair", repair],
  ] as const;
  return parts
    .filter(([, slots]) => slots.length > 0)
    .map(([word, slots]) => `${word} ${slots.join(" ")}`)
    .join(", ");
}

describe("manager/orchestrator/replicated/reconcile", () => {
  const cases: readonly (readonly [
    fact: string,
    replicas: number,
    picture: string,
    expected: string,
  ])[] = [
    ["fills a new service", 3, "", "fill 1 2 3"],
    ["does nothing when all is well", 3, "r1 r2 w", ""],
    ["fills the lowest free slots", 5, "r1 . r2 - r3", "fill 2 4"],
    ["reuses a slot that is being emptied", 2, "r1 -", "fill 2"],
    ["counts a slot that had its last task as held", 3, "f r1 f", ""],
    ["empties slots that do not run first", 2, "w r1 w r2", "empty 1 3"],
    ["of those that do not run the highest", 3, "w r1 w r2", "empty 3"],
    ["then those of the node that holds most", 3, "r1 r2 r2 r2 r1", "empty 4 5"],
    ["the highest slot of equally full nodes", 3, "r1 r2 r3 r4", "empty 4"],
    ["evens nodes out while it goes", 2, "r1 r1 r1 r2 r2 r2", "empty 2 3 5 6"],
    ["empties everything at 0 replicas", 0, "r1 w f", "empty 1 2 3"],
    ["a finished slot goes before one that runs", 1, "r1 f", "empty 2"],
    ["forgets the history of slots beyond the replicas", 2, "r1 r2 d", "empty 3"],
    ["fills a slot whose tasks were all shut down", 2, "r1 d", "fill 2"],
    ["looks after slots whose task has ended", 3, "x r1 x", "repair 1 3"],
    ["but not after those it empties", 1, "x r1 x", "empty 1 3"],
  ];
  for (const [fact, replicas, picture, expected] of cases) {
    it(`${fact}: ${replicas} of [${picture}]`, () => {
      assert.equal(steps(replicas, picture), expected);
    });
  }
});
