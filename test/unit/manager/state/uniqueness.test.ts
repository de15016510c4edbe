/**
 * What must be unique, as tables: what is there, what a transaction does, whether it is refused.
 */
import assert from "node:assert/strict";
import { encodeTransaction } from "../../../../manager/state/action.ts";
import { applyEntry } from "../../../../manager/state/apply.ts";
import { newChange } from "../../../../manager/state/change.ts";
import { State } from "../../../../manager/state/state.ts";
import type { AnyObject, TableKey } from "../../../../manager/state/tables.ts";
import { StoreEntryParts } from "../../../../src/common/api/generated/api.ts";
import { config, network, node, service, task } from "../../../support/store-objects.ts";

const day = 24 * 60 * 60 * 1000;

type Put = readonly [TableKey, AnyObject];
/** An object that is put, or the id of one that is removed. */
type Step = Put | readonly [TableKey, string];

/** Applies one transaction and returns why it was refused. */
function apply(state: State, steps: readonly Step[], timeMs = 1_000): string | undefined {
  const changes = steps.map(([table, what]) => {
    const id = typeof what === "string" ? what : what.id;
    const old = state.get(table, id);
    if (typeof what === "string") {
      assert.ok(old, `${id} is there`);
      return newChange("remove", table, old, undefined);
    }
    return newChange(old === undefined ? "create" : "update", table, what, old);
  });
  const parts = { changes, preconditions: [], term: 0, clientId: 0, sequence: 0 };
  const transactions = [encodeTransaction(parts)];
  const data = StoreEntryParts.encode({ format: 1, timeMs, transactions });
  const applied = applyEntry(state, { index: state.index + 1, term: 1, data });
  return applied.outcomes[0]?.refusal?.message;
}

const ingress = { publishedPort: 80, targetPort: 8080 };
const slotTask = { serviceId: "s", slot: 1 };

interface Case {
  readonly fact: string;
  readonly before: readonly Put[];
  readonly steps: readonly Step[];
  /** Part of the refusal; undefined when it is applied. */
  readonly refused?: RegExp;
}

const cases: readonly Case[] = [
  {
    fact: "refuses a second config of a name, whatever its case",
    before: [["config", config("a", "Name")]],
    steps: [["config", config("b", "nAME")]],
    refused: /name conflicts with an existing object: config name/,
  },
  {
    fact: "lets objects of different tables have one name",
    before: [["config", config("a", "name")]],
    steps: [["network", network("b", 0, "name")]],
  },
  {
    fact: "lets an object keep its name",
    before: [["config", config("a", "name")]],
    steps: [["config", config("a", "name", "new data")]],
  },
  {
    fact: "frees the name of a removed object within the transaction",
    before: [["config", config("a", "name")]],
    steps: [
      ["config", config("b", "name")],
      ["config", "a"],
    ],
  },
  {
    fact: "lets two objects swap names",
    before: [
      ["config", config("a", "one")],
      ["config", config("b", "two")],
    ],
    steps: [
      ["config", config("a", "two")],
      ["config", config("b", "one")],
    ],
  },
  {
    fact: "refuses one name for two objects of a transaction",
    before: [],
    steps: [
      ["config", config("a", "one")],
      ["config", config("b", "one")],
    ],
    refused: /name conflicts/,
  },
  {
    fact: "refuses a name whose holder only seems to give it up",
    before: [["config", config("a", "one")]],
    steps: [
      ["config", config("b", "one")],
      ["config", config("a", "one", "changed")],
    ],
    refused: /name conflicts/,
  },
  {
    fact: "lets nodes share a hostname",
    before: [["node", node("a", 1, "host")]],
    steps: [["node", node("b", 2, "host")]],
  },
  {
    fact: "refuses an ingress port another service's spec names",
    before: [["service", service({ id: "a", ports: [ingress] })]],
    steps: [["service", service({ id: "b", allocated: [ingress] })]],
    refused: /port '80\/tcp' is already in use/,
  },
  {
    fact: "tells ports by protocol",
    before: [["service", service({ id: "a", ports: [ingress] })]],
    steps: [["service", service({ id: "b", ports: [{ ...ingress, protocol: "udp" }] })]],
  },
  {
    fact: "leaves host-mode ports and unallocated ports alone",
    before: [["service", service({ id: "a", ports: [ingress, { targetPort: 1 }] })]],
    steps: [
      [
        "service",
        service({ id: "b", ports: [{ ...ingress, publishMode: "host" }, { targetPort: 1 }] }),
      ],
    ],
  },
  {
    fact: "refuses a virtual IP another service has in the network",
    before: [["service", service({ id: "a", vips: [["n", "10.0.0.2/24"]] })]],
    steps: [["service", service({ id: "b", vips: [["n", "10.0.0.2/16"]] })]],
    refused: /address 10\.0\.0\.2 of network n/,
  },
  {
    fact: "refuses a task's address that is a virtual IP, in another spelling",
    before: [["service", service({ id: "a", vips: [["n", "fd00::1/64"]] })]],
    steps: [["task", task({ id: "t", addresses: [["n", "fd00:0:0::0001/64"]] })]],
    refused: /already in use/,
  },
  {
    fact: "lets one address be used in two networks",
    before: [["task", task({ id: "t", addresses: [["n", "10.0.0.2/24"]] })]],
    steps: [["task", task({ id: "u", addresses: [["m", "10.0.0.2/24"]] })]],
  },
  {
    fact: "keeps the address of a task that is to stop and has not",
    before: [
      [
        "task",
        task({ id: "t", desired: "shutdown", state: "running", addresses: [["n", "10.0.0.2"]] }),
      ],
    ],
    steps: [["task", task({ id: "u", addresses: [["n", "10.0.0.2"]] })]],
    refused: /address/,
  },
  {
    fact: "frees the address of a task that has ended",
    before: [["task", task({ id: "t", state: "failed", addresses: [["n", "10.0.0.2"]] })]],
    steps: [["task", task({ id: "u", addresses: [["n", "10.0.0.2"]] })]],
  },
  {
    fact: "refuses a network number twice, but not the unallocated one",
    before: [
      ["network", network("a", 4_097)],
      ["network", network("b", 0)],
    ],
    steps: [
      ["network", network("c", 0)],
      ["network", network("d", 4_097)],
    ],
    refused: /network number 4097/,
  },
  {
    fact: "refuses a twin of a live task in its slot",
    before: [["task", task({ id: "t", ...slotTask })]],
    steps: [["task", task({ id: "u", ...slotTask })]],
    refused: /slot 1 of service s already has a task/,
  },
  {
    fact: "lets a task of another version start in the slot before the old one stops",
    before: [["task", task({ id: "t", ...slotTask, state: "running" })]],
    steps: [["task", task({ id: "u", ...slotTask, specVersion: 2 })]],
  },
  {
    fact: "lets one task start beside one that leaves its node",
    before: [["task", task({ id: "t", ...slotTask, state: "running" })]],
    steps: [["task", task({ id: "u", ...slotTask, besideId: "t" })]],
  },
  {
    fact: "refuses a second one beside it",
    before: [
      ["task", task({ id: "t", ...slotTask, state: "running" })],
      ["task", task({ id: "u", ...slotTask, besideId: "t" })],
    ],
    steps: [["task", task({ id: "v", ...slotTask, besideId: "t" })]],
    refused: /slot 1 of service s already has a task/,
  },
  {
    fact: "lets a task replace one that is told to stop in the same transaction",
    before: [["task", task({ id: "t", ...slotTask, state: "running" })]],
    steps: [
      ["task", task({ id: "u", ...slotTask })],
      ["task", task({ id: "t", ...slotTask, state: "running", desired: "shutdown" })],
    ],
  },
  {
    fact: "lets history stay in the slot",
    before: [["task", task({ id: "t", ...slotTask, state: "failed" })]],
    steps: [["task", task({ id: "u", ...slotTask })]],
  },
  {
    fact: "tells iterations of a job apart, whose tasks are wanted until complete",
    before: [["task", task({ id: "t", ...slotTask, jobIteration: 0, desired: "complete" })]],
    steps: [["task", task({ id: "u", ...slotTask, jobIteration: 1, desired: "complete" })]],
  },
  {
    fact: "refuses a twin of a job's task",
    before: [["task", task({ id: "t", ...slotTask, jobIteration: 1, desired: "complete" })]],
    steps: [["task", task({ id: "u", ...slotTask, jobIteration: 1, desired: "complete" })]],
    refused: /slot 1/,
  },
  {
    fact: "refuses two tasks of a global service on one node",
    before: [["task", task({ id: "t", serviceId: "s", nodeId: "n1" })]],
    steps: [["task", task({ id: "u", serviceId: "s", nodeId: "n1" })]],
    refused: /slot n1/,
  },
  {
    fact: "lets a global service have tasks on two nodes",
    before: [["task", task({ id: "t", serviceId: "s", nodeId: "n1" })]],
    steps: [["task", task({ id: "u", serviceId: "s", nodeId: "n2" })]],
  },
  {
    fact: "refuses a node number twice",
    before: [["node", node("a", 7)]],
    steps: [["node", node("b", 7)]],
    refused: /node number 7 is already in use/,
  },
  {
    fact: "refuses a node number out of range",
    before: [],
    steps: [["node", node("a", 65_535)]],
    refused: /not between 1 and 65534/,
  },
  {
    fact: "refuses to give the number of a node that is removed in the same transaction",
    before: [["node", node("a", 7)]],
    steps: [
      ["node", node("b", 7)],
      ["node", "a"],
    ],
    refused: /freed less than a day ago/,
  },
];

describe("manager/state/uniqueness", () => {
  for (const { fact, before, steps, refused } of cases) {
    it(fact, () => {
      const state = new State();
      for (const put of before) assert.equal(apply(state, [put]), undefined);
      const objects = JSON.stringify(
        Array.from(state.freeze().tables, ([key, of]) => [key, ...of]),
      );
      const message = apply(state, steps);
      if (refused === undefined) assert.equal(message, undefined);
      else {
        assert.match(message ?? "applied", refused);
        assert.equal(
          JSON.stringify(Array.from(state.freeze().tables, ([key, of]) => [key, ...of])),
          objects,
          "nothing is applied",
        );
      }
    });
  }
});

describe("manager/state/check", () => {
  it("leaves tombstones for a removed node and lets neither id nor number come back soon", () => {
    const state = new State();
    apply(state, [["node", node("a", 7)]]);
    apply(state, [["node", "a"]], 5_000);
    const [byNode, byNumber] = ["node/a", "number/7"].map((id) => state.get("tombstone", id));
    assert.deepEqual(
      { ...byNode, meta: undefined },
      {
        id: "node/a",
        meta: undefined,
        node: { nodeId: "a", expiresAtMs: 99_000 },
        number: undefined,
      },
    );
    assert.equal(byNumber?.meta?.version, 2);
    assert.match(apply(state, [["node", node("a", 8)]]) ?? "", /cannot come back/);
    assert.match(apply(state, [["node", node("b", 7)]], 5_000 + day - 1) ?? "", /less than a day/);
    assert.equal(apply(state, [["node", node("b", 7)]], 5_000 + day), undefined);
    assert.equal(state.get("tombstone", "number/7"), undefined);
  });

  it("rests a number that a node gives up, and refreshes the rest each time", () => {
    const state = new State();
    apply(state, [["node", node("a", 7)]]);
    apply(state, [["node", node("a", 8)]], 1_000);
    assert.match(apply(state, [["node", node("b", 7)]], 2_000) ?? "", /less than a day/);
    assert.equal(apply(state, [["node", node("b", 7)]], 1_000 + day), undefined);
    apply(state, [["node", "b"]], 2 * day);
    assert.match(apply(state, [["node", node("c", 7)]], 3 * day - 1) ?? "", /less than a day/);
  });
});
