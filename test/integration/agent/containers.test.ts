/**
 * Containers over a real containerd: what runs inside, how it ends, and what is left.
 */
import { deepEqual, equal } from "node:assert/strict";
import { snapshotterName } from "../../../src/common/containerd/client.ts";
import {
  ContainersService,
  LeasesService,
  SnapshotsService,
  TasksService,
} from "../../../src/common/containerd/generated/protocol.ts";
import { makeImage } from "../../support/busybox-image.ts";
import { TestContainers } from "../../support/containers.ts";

describe("agent/exec/containerd/containers", () => {
  const test = new TestContainers();

  before(async () => {
    await test.start();
    test.images.push(await makeImage(test.client, "busybox:1"));
  });

  after(() => test.remove());

  it("runs a program to its end, with output and exit code", async () => {
    const { exitCode, output } = await test.runToEnd({
      command: ["sh", "-c", "echo $GREETING; exit 7"],
      env: ["GREETING=hello"],
    });
    deepEqual({ exitCode, output }, { exitCode: 7, output: "hello\n" });
  });

  it("leaves nothing of a container that was removed", async () => {
    const { client } = test;
    deepEqual((await client.call(ContainersService.list, {})).containers, []);
    deepEqual((await client.call(TasksService.list, {})).tasks, []);
    const keys: string[] = [];
    for await (const { info } of client.list(SnapshotsService.list, {
      snapshotter: snapshotterName,
    })) {
      keys.push(...info.filter(({ kind }) => kind === "active").map(({ name }) => name));
    }
    deepEqual(keys, []);
    equal((await client.call(LeasesService.list, {})).leases.length, 1);
  });
});
