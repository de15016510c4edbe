/**
 * Where tasks go, in text scenarios: `scenarios/*.txt` beside the source of this file.
 *
 * A line is a node (`node a cpus=4 zone=east`), tasks that run on it (`tasks web a 2 cpus=1`), tasks that failed there lately
 * (`failed web a 5`), or tasks to be placed (`place web 3 cpus=1`), one after another on what the lines before left. Under a
 * `place` stands, indented, what comes of it: tasks per node with what they were given, and why the rest has none.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { GroupDecision } from "../../../../manager/scheduler/decide.ts";
import { groupOf } from "../../../../manager/scheduler/group.ts";
import { NodeSet } from "../../../../manager/scheduler/node-set.ts";
import type { GenericResource } from "../../../../src/common/api/generated/api.ts";
import { aNode, aService, aTask, type WorkParts } from "../../../support/scheduler.ts";

// Text files are not copied to build/, and tests run from the top of the repository.
const folder = join("test", "unit", "manager", "scheduler", "scenarios");
const now = 1_700_000_000_000;

type Options = ReadonlyMap<string, string>;

/** A cluster a scenario plays in. */
class Stage {
  readonly #nodes = new NodeSet();
  #tasks = 0;

  node(id: string, options: Options): void {
    const own = new Set(["cpus", "memory", "platforms", "availability", "state", "generic"]);
    const labels = Object.fromEntries([...options].filter(([key]) => !own.has(key)));
    const availability = options.get("availability") === "drain" ? "drain" : "active";
    const platforms = options.get("platforms")?.split(",");
    this.#nodes.put(
      aNode({
        id,
        cpus: Number(options.get("cpus") ?? 4),
        memoryMb: Number(options.get("memory") ?? 4_096),
        labels,
        generic: genericOf(options),
        availability,
        state: options.get("state") === "down" ? "down" : "ready",
        ...(platforms === undefined ? {} : { platforms }),
      }),
    );
  }

  tasks(name: string, nodeId: string, count: number, options: Options): void {
    const service = aService(name, workOf(options));
    for (let n = 0; n < count; n++) {
      const task = aTask({ id: `old${this.#tasks++}`, service, nodeId, state: "running" });
      this.#nodes.charge(task);
    }
  }

  failed(name: string, nodeId: string, count: number): void {
    const service = aService(name);
    for (let n = 0; n < count; n++) {
      const id = `old${this.#tasks++}`;
      const next = aTask({ id, service, nodeId, state: "failed", atMs: now - 60_000 });
      this.#nodes.taskChanged({ old: undefined, next }, now, () => "");
    }
  }

  place(name: string, count: number, options: Options): string[] {
    const service = aService(name, workOf(options));
    const { reference = "", digest = "", platforms = [] } = service.image ?? {};
    const tasks = Array.from({ length: count }, () =>
      aTask({ id: `new${this.#tasks++}`, service }),
    );
    const [first] = tasks;
    assert.ok(first !== undefined);
    const image = { reference, digest, platforms };
    const group = groupOf(first, { service, image, networkDrivers: [], volumes: [] });
    const decision = new GroupDecision(group, this.#nodes, now);
    const counts = new Map<string, number>();
    const given = new Map<string, string[]>();
    let left = 0;
    for (const task of tasks) {
      const next = decision.place(task)?.next;
      if (next === undefined) {
        left++;
        continue;
      }
      const { nodeId, assignedGeneric } = next;
      counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
      const words = assignedGeneric.map(({ kind, named, count }) => `${kind}:${named || count}`);
      given.set(nodeId, [...(given.get(nodeId) ?? []), ...words]);
    }
    const lines = [...counts].sort().map(([id, tasksOn]) => {
      const words = given.get(id) ?? [];
      return words.length === 0 ? `${id} ${tasksOn}` : `${id} ${tasksOn} ${words.join(",")}`;
    });
    return left === 0 ? lines : [...lines, `${left} left: ${decision.explain()}`];
  }
}

/** `GPU:u1,SSD:2`: one by its name, two by number. */
function genericOf(options: Options): GenericResource[] {
  const items = options.get("generic")?.split(",") ?? [];
  return items.map((item) => {
    const [kind = "", value = ""] = item.split(":");
    const count = Number(value);
    return Number.isNaN(count) ? { kind, named: value, count: 0 } : { kind, named: "", count };
  });
}

function workOf(options: Options): WorkParts & { platforms?: readonly string[] } {
  const list = (key: string) => options.get(key)?.split(",");
  const platforms = list("platforms");
  return {
    cpus: Number(options.get("cpus") ?? 0),
    memoryMb: Number(options.get("memory") ?? 0),
    maxReplicas: Number(options.get("max") ?? 0),
    constraints: list("constraints") ?? [],
    spread: list("spread") ?? [],
    generic: genericOf(options),
    ...(platforms === undefined ? {} : { platforms }),
  };
}

/** The scenario with what really comes of each `place`. */
function play(text: string): string {
  const stage = new Stage();
  const out: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("  ")) continue;
    out.push(line);
    const [word, name = "", ...rest] = line.split(/\s+/);
    const options = new Map(
      rest.filter((part) => part.includes("=")).map((part) => splitOnce(part)),
    );
    const [first = "", second = ""] = rest;
    if (word === "node") stage.node(name, options);
    else if (word === "tasks") stage.tasks(name, first, Number(second), options);
    else if (word === "failed") stage.failed(name, first, Number(second));
    else if (word === "place") {
      for (const result of stage.place(name, Number(first), options)) out.push(`  ${result}`);
    } else assert.match(line, /^(#.*)?$/, "a line is a node, tasks, failed, place or a comment");
  }
  return out.join("\n");
}

function splitOnce(part: string): [string, string] {
  const at = part.indexOf("=");
  return [part.slice(0, at), part.slice(at + 1)];
}

describe("manager/scheduler placement", () => {
  for (const file of readdirSync(folder)) {
    it(`goes as written in ${file}`, () => {
      const text = readFileSync(join(folder, file), "utf8");
      assert.equal(play(text), text);
    });
  }
});
