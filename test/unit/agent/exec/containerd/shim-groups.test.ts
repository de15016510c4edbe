/**
 * Which containers share a shim with which, and who removes its socket: decided from the table of containers alone.
 */
import { deepEqual, equal, notEqual } from "node:assert/strict";
import { Entry, freshState } from "../../../../../agent/exec/containerd/entry.ts";
import type { PlannedMount } from "../../../../../agent/exec/containerd/mounts.ts";
import {
  type ContainerFacts,
  emptyContainerConfig,
} from "../../../../../agent/exec/containerd/record.ts";
import { ShimGroups } from "../../../../../agent/exec/containerd/shim-groups.ts";
import { ContainerTable } from "../../../../../agent/exec/containerd/table.ts";
import type { ContainerConfig } from "../../../../../src/common/container/types.ts";

describe("agent/exec/containerd/shim-groups", () => {
  let table: ContainerTable;
  let groups: ShimGroups;
  let count: number;
  const volumes = {
    find: (name: string) => ({ options: name === "remote" ? { type: "nfs" } : {} }) as never,
  };

  beforeEach(() => {
    table = new ContainerTable();
    count = 0;
    groups = new ShimGroups({ table, volumes, openMax: 2 });
  });

  function taskOf(serviceId: string): Partial<ContainerConfig> {
    return {
      task: { taskId: "t", taskName: "t", nodeId: "n", serviceId, serviceName: serviceId },
    };
  }

  /** Makes a container of a service; it is not in the table when it is still being made. */
  function make(
    change: Partial<ContainerConfig> = taskOf("web"),
    o: { planned?: Partial<PlannedMount>[]; stillMaking?: boolean } = {},
  ): { id: string; group: string | undefined; entry: Entry } {
    const id = `c${count++}`;
    const config = { ...emptyContainerConfig, ...change };
    const planned = (o.planned ?? []) as PlannedMount[];
    const group = groups.join({ id, config, planned });
    const facts = { id, name: id, config, ...(group !== undefined && { shimGroup: group }) };
    const life = { state: freshState, stopped: false, lastExit: undefined };
    const entry = new Entry(facts as unknown as ContainerFacts, life, "{}");
    if (o.stillMaking !== true) {
      table.add(entry);
      groups.made(id);
    }
    return { id, group, entry };
  }
  const groupsOf = (containers: number) =>
    Array.from({ length: containers }, () => make().group ?? "");

  it("gives the first containers of a service shims of their own, and the next ones a place in them in turn", () => {
    deepEqual(groupsOf(6), ["c0", "c1", "c0", "c1", "c0", "c1"]);
  });

  it("has at most eight in one shim", () => {
    const sizes = new Map<string, number>();
    for (const group of groupsOf(50)) sizes.set(group, (sizes.get(group) ?? 0) + 1);
    deepEqual([...sizes.values()].sort(), [3, 7, 8, 8, 8, 8, 8]);
  });

  it("has each in a shim of its own where none are to be shared", () => {
    groups = new ShimGroups({ table, volumes, openMax: 0 });
    deepEqual(groupsOf(3), ["", "", ""]);
  });

  it("keeps services apart", () => {
    deepEqual(groupsOf(2), ["c0", "c1"]);
    equal(make(taskOf("other")).group, "c2");
    equal(make().group, "c0");
  });

  it("leaves containers that are run by hand to themselves", () => {
    equal(make({}).group, undefined);
  });

  it("leaves those to themselves whose making may hold the others up, or is another", () => {
    groupsOf(2);
    const with_ = (mount: Partial<PlannedMount>) =>
      make(taskOf("web"), { planned: [{ driver: { name: "", options: {} }, ...mount }] }).group;
    equal(with_({ type: "bind", source: "/srv" }), undefined);
    equal(with_({ type: "volume", source: "remote" }), undefined);
    equal(make({ ...taskOf("web"), pidMode: "host" }).group, undefined);
    const secretEnv = [{ name: "A", value: "b" }];
    equal(make({ ...taskOf("web"), secretEnv }).group, undefined);
    equal(with_({ type: "volume", source: "here" }), "c0");
    equal(with_({ type: "tmpfs", source: "" }), "c1");
  });

  for (const [what, change] of [
    ["has ended", (entry: Entry) => entry.setState({ phase: "exited" })],
    ["was told to stop", (entry: Entry) => entry.setLife({ stopped: true })],
    [
      "is being removed",
      (entry: Entry) => {
        entry.removing = true;
      },
    ],
    ["is removed", (entry: Entry) => table.delete(entry)],
  ] as const) {
    it(`lets nobody into a group of which one ${what}`, () => {
      const first = make();
      make();
      make();
      change(first.entry);
      equal(make().group, "c3");
      equal(make().group, "c1");
    });
  }

  it("counts those that are being made, until they are made or not", () => {
    const first = make(taskOf("web"), { stillMaking: true });
    equal(make().group, "c1");
    equal(make().group, first.id);
    groups.made(first.id);
    equal(make().group, "c3");
  });

  it("lets go of a shim with the last that has it, whichever that is", () => {
    const [first, , second] = [make(), make(), make()];
    equal(second?.group, first?.id);
    equal(groups.leave("c0"), undefined);
    table.delete(first?.entry as Entry);
    equal(groups.leave("c2"), "c0");
  });

  it("lets go of a shim once when all go at the same time", () => {
    for (let container = 0; container < 6; container++) make();
    deepEqual(
      ["c0", "c2", "c4"].map((id) => groups.leave(id)),
      [undefined, undefined, "c0"],
    );
  });

  it("lets go of what nobody knows, unless others have a shim by its name", () => {
    equal(groups.leave("stray"), "stray");
    const [first] = [make(), make(), make()];
    table.delete(first?.entry as Entry);
    equal(groups.leave("c0"), undefined);
    notEqual(groups.leave("c2"), undefined);
  });
});
