/**
 * What an agent remembers on disk: tasks, statuses and the index, over closing, damage and removal.
 */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStorage, type Storage } from "../../../agent/storage.ts";
import {
  ContainerSpec,
  Node,
  PullOptions,
  Task,
  TaskSpec,
  TaskStatus,
} from "../../../src/common/api/generated/api.ts";

describe("agent/storage", () => {
  let folder: string;
  let storage: Storage;
  let damage: unknown[];
  const open = () => openStorage(join(folder, "agent"), (error) => damage.push(error));

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-storage-"));
    damage = [];
    storage = await open();
  });
  afterEach(async () => {
    await storage.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("gives back what was written, and not what was removed", async () => {
    const [a, b] = [Task.create({ id: "a", slot: 3 }), Task.create({ id: "b" })];
    const status = TaskStatus.create({ state: "running" });
    const node = Node.create({ id: "n" });
    await storage.write({ tasks: [a, b], seenIndex: 9, node });
    await storage.writeStatus("a", status);
    await storage.writeStatus("b", status);
    await storage.write({ removedTaskIds: ["b"] });
    await storage.close();
    storage = await open();
    deepEqual(await storage.load(), { tasks: [{ task: a, status }], seenIndex: 9, node });
  });

  it("keeps the last of many statuses, and none of a task that is removed meanwhile", async () => {
    await storage.write({ tasks: [Task.create({ id: "a" }), Task.create({ id: "b" })] });
    const writes: Promise<void>[] = [];
    for (const state of ["accepted", "preparing", "ready", "starting", "running"] as const) {
      for (const id of ["a", "b"])
        writes.push(storage.writeStatus(id, TaskStatus.create({ state })));
    }
    const removal = storage.write({ removedTaskIds: ["b"] });
    // As if it was assigned again.
    const again = removal.then(() => storage.write({ tasks: [Task.create({ id: "b" })] }));
    await Promise.all([...writes, again]);
    const late = storage.writeStatus("a", TaskStatus.create({ state: "complete" }));
    await storage.close();
    await late;
    storage = await open();
    const statuses = (await storage.load()).tasks.map(({ task, status }) => [
      task.id,
      status?.state,
    ]);
    deepEqual(statuses, [
      ["a", "complete"],
      ["b", undefined],
    ]);
  });

  it("keeps no credentials of registries", async () => {
    const pull = PullOptions.create({ registryAuth: "tGhIsIsSeCrEt" });
    const container = ContainerSpec.create({ image: "x", pull });
    await storage.write({
      tasks: [Task.create({ id: "a", spec: TaskSpec.create({ container }) })],
    });
    await storage.close();
    for (const name of await readdir(join(folder, "agent"))) {
      const text = await readFile(join(folder, "agent", name), "latin1");
      ok(!text.includes(pull.registryAuth), name);
    }
    storage = await open();
    const [first] = (await storage.load()).tasks;
    deepEqual(first?.task.spec?.container, ContainerSpec.create({ image: "x" }));
  });

  it("begins anew when it is damaged, and says so", async () => {
    await storage.write({ tasks: [Task.create({ id: "a" })] });
    await storage.close();
    await writeFile(join(folder, "agent", "CURRENT"), "nonsense\n");
    storage = await open();
    equal(damage.length, 1);
    deepEqual(await storage.load(), { tasks: [], seenIndex: 0, node: undefined });
  });

  it("says what is in the way when it cannot be opened", async () => {
    await rejects(open(), /agent's storage in .* cannot be opened/);
    equal(damage.length, 0);
  });

  it("keeps what it was told of the data path, beside the tasks", async () => {
    const bytes = (text: string) => new Uint8Array(Buffer.from(text));
    await storage.network.write(
      new Map([
        ["peer/a", bytes("1")],
        ["peer/b", bytes("2")],
      ]),
    );
    await storage.network.write(
      new Map([
        ["peer/a", undefined],
        ["network/c", bytes("3")],
      ]),
    );
    await storage.close();
    storage = await open();
    deepEqual(
      [...(await storage.network.load())].map(([key, value]) => [key, `${Buffer.from(value)}`]),
      [
        ["network/c", "3"],
        ["peer/b", "2"],
      ],
    );
    deepEqual((await storage.load()).tasks, []);
  });
});
