/**
 * A plan in words: what stands in the way of tasks.
 */
import { deepEqual } from "node:assert/strict";
import { effectsOf, warningsOf } from "../../../../../src/cli/stack/plan-text.ts";
import type {
  ManagersPlan,
  PlannedConflict,
  PlannedService,
} from "../../../../../src/cli/stack/planned.ts";

const node = (Hostname: string) => ({ ID: `id-${Hostname}`, Hostname });

function planWith(parts: Partial<PlannedService>): ManagersPlan {
  const service: PlannedService = {
    ...{ Name: "db", Image: "app", Removed: false, Order: "stop-first", Parallelism: 1 },
    ...{ Kept: 0, Tasks: [], MoreTasks: 0, Refusing: 0, Refusals: [], Conflicts: [] },
    Absence: { Running: 0, Away: 0, Lost: 0 },
    ...parts,
  };
  const none = {
    Images: [],
    Unresolved: [],
    MissingPaths: [],
    SilentNodes: [],
    NodesNotAsked: 0,
    Refused: [],
  };
  return { Index: 1, Objects: [], Services: [service], ...none };
}

function said(conflict: Partial<PlannedConflict>): readonly string[] {
  const whole: PlannedConflict = {
    ...{ Kind: "volume", Name: "data", Nodes: [node("n1")], Services: [], Effect: "waits" },
    ...conflict,
  };
  return warningsOf(planWith({ Conflicts: [whole] }));
}

describe("src/cli/stack/plan-text", () => {
  it("says where a volume is, and why the task cannot go there", () => {
    const Reason = "no suitable node (scheduling constraints not satisfied on 1 node)";
    deepEqual(said({ Reason }), [
      "service db: volume data is on n1, where the task cannot go: scheduling constraints not satisfied",
    ]);
    deepEqual(
      said({ Reason: "no suitable node (1 node not available for new tasks)", Services: ["web"] }),
      [
        "service db: volume data is on n1 (service web), where the task cannot go: not available for new tasks",
      ],
    );
  });

  it("says which volume starts empty, and where it does not", () => {
    deepEqual(said({ Effect: "empty", To: node("n3"), Nodes: [node("n2"), node("n1")] }), [
      "service db: volume data starts empty on n3; what it has by now is on n1, n2",
    ]);
  });

  it("says once for each reason what registries did not tell, of each image once", () => {
    const plan = planWith({});
    const Node = node("n1");
    const Images = [
      { Image: "a", Node, Unknown: "late" },
      { Image: "b", Node, Unknown: "refused" },
      { Image: "b", Node: node("n2"), Unknown: "refused" },
      { Image: "c", Node, PullBytes: 1, TotalBytes: 1 },
    ];
    const Unresolved = ["a", "d"].map((Image) => ({ Image, Reason: "late" }));
    deepEqual(warningsOf({ ...plan, Images, Unresolved }), [
      "images a, d were not resolved, so that their platforms and what is to be pulled are not known: late",
      "what of image b is to be pulled is not known: refused",
    ]);
  });

  it("says which volume its node would not give", () => {
    deepEqual(said({ Effect: "rejected", To: node("n1"), Reason: "other options" }), [
      "service db: volume data would be refused on n1: other options",
    ]);
  });

  it("says where a host port is taken, and by whom", () => {
    const port = { Kind: "port", Name: "80/tcp", Services: ["db", "web"] } as const;
    deepEqual(said(port), [
      "service db: host port 80/tcp is taken on n1 (its own tasks, service web)",
    ]);
    const Reason = "nginx (7) listens at 0.0.0.0";
    deepEqual(said({ ...port, Services: [], Effect: "rejected", To: node("n1"), Reason }), [
      "service db: host port 80/tcp is taken on n1: nginx (7) listens at 0.0.0.0",
    ]);
  });

  it("says where tasks go, and of those that find no node why, once", () => {
    const waiting = { Error: "no suitable node (insufficient resources on 3 nodes)" };
    const Tasks = [
      { Action: "start", Slot: 4, ...waiting },
      { Action: "start", Slot: 5, To: node("n2") },
      { Action: "replace", Slot: 1, From: node("n1"), To: node("n1") },
      { Action: "replace", Slot: 2, From: node("n1"), To: node("n2") },
      { Action: "replace", Slot: 3, From: node("n2"), ...waiting },
      { Action: "stop", Slot: 6, TaskID: "t" },
    ] as const;
    deepEqual(effectsOf(planWith({ Tasks }), "db").slice(3), [
      "slot 1: again on n1",
      "slot 2: n1 -> n2",
      "slot 5: n2",
      "slot 6: stops before it had a node",
      "no node for slot 3 (now on n2), slot 4: insufficient resources on 3 nodes",
    ]);
  });

  it("names the nodes where tasks of a global service wait, once", () => {
    const Reason = "no suitable node (host-mode port already in use on 1 node)";
    const Tasks = [node("n1"), node("n2")].map((Node) => ({
      ...{ Action: "start" as const, Node, Error: Reason },
    }));
    const Refusals = [node("n2"), node("n1")].map((Node) => ({ Node, Reason }));
    deepEqual(effectsOf(planWith({ Tasks, Refusals, Refusing: 2 }), "db"), [
      "starts 2 tasks",
      "not yet on n1, n2: host-mode port already in use",
    ]);
  });

  it("groups nodes of one platform", () => {
    const reason = (name: string, platform: string) =>
      `no suitable node (unsupported platform on 1 node: the image is for linux/arm/v7, ${name} runs ${platform})`;
    const Refusals = [
      { Node: node("n1"), Reason: reason("n1", "linux/amd64") },
      { Node: node("n2"), Reason: reason("n2", "linux/arm64") },
      { Node: node("n3"), Reason: reason("n3", "linux/amd64") },
    ];
    deepEqual(effectsOf(planWith({ Refusals, Refusing: 3 }), "db"), [
      "not on n1, n3: unsupported platform: the image is for linux/arm/v7, they run linux/amd64",
      "not on n2: unsupported platform: the image is for linux/arm/v7, it runs linux/arm64",
    ]);
  });

  it("tells of each image that a node pulls once, with the first service", () => {
    const tasksOn = (...names: string[]) =>
      names.map((name, at) => ({ Action: "start" as const, Slot: at + 1, To: node(name) }));
    const plan = planWith({ Tasks: tasksOn("n1", "n2", "n3") });
    const [first] = plan.Services;
    const second = { ...first, Name: "web", Tasks: tasksOn("n1") } as PlannedService;
    const size = { Image: "app", TotalBytes: 2_000_000 };
    const Images = [
      { ...size, Node: node("n1"), PullBytes: 2_000_000 },
      { ...size, Node: node("n2"), PullBytes: 2_000_000 },
      { ...size, Node: node("n3"), PullBytes: 0 },
    ];
    const whole = { ...plan, Services: [first as PlannedService, second], Images };
    const pulls = (name: string) => effectsOf(whole, name).filter((line) => /^pulls/.test(line));
    deepEqual(pulls("db"), ["pulls 2.00MB of 2.00MB on each of n1, n2"]);
    deepEqual(pulls("web"), []);
  });

  it("says of nodes that would refuse why, without counting each of them", () => {
    const Reason = "no suitable node (insufficient resources on 1 node)";
    const Refusals = [node("n2"), node("n1")].map((Node) => ({ Node, Reason }));
    deepEqual(effectsOf(planWith({ Refusals, Refusing: 2 }), "db"), [
      "not on n1, n2: insufficient resources",
    ]);
  });
});
