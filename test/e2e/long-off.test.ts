/**
 * Clusters that were switched off for longer than their certificates last (acceptance A6): the clocks of all daemons are
 * shifted by Debian's faketime. Everything comes back without a person, what was removed does not, and one wrong clock
 * takes nobody else along.
 */
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { join } from "node:path";
import { keysFileState } from "../../manager/keymanager/keys.ts";
import { shiftedClock } from "../../src/playground/playground.ts";
import { LabCluster } from "../support/lab-cluster.ts";
import { until } from "../support/wait.ts";

const remaining = ["m1", "m2", "m3", "w1"];

describe("a cluster that was off for 200 days", function () {
  this.timeout(300_000);
  let cluster: LabCluster;

  before(async () => {
    cluster = await LabCluster.form({ managers: 3, workers: 2 });
    await cluster.createSecret("m1", "before");
  });

  after(async () => cluster?.down());

  it("comes back by itself, without the node that was removed while it was down", async () => {
    const removed = await idOf(cluster, "w2");
    await cluster.lab.killNode("w2");
    await cluster.done("m2", { method: "DELETE", path: `/nodes/${removed}?force=true` });
    await switchOff(cluster);
    for (const name of ["w2", "m3", "w1", "m1", "m2"]) await startAt(cluster, name, "+200d");
    await cluster.ready(remaining);
    await cluster.createSecret("m3", "after 200 days".replaceAll(" ", "-"));
    deepEqual((await cluster.secrets("m2")).sort(), ["after-200-days", "before"]);
    await until(async () => (await cluster.swarm("w2")).Error !== "", {
      withinMs: 60_000,
      what: "the removed node says that it was removed",
    });
    equal(await idOf(cluster, "w2"), undefined);
    notEqual((await cluster.swarm("w2")).LocalNodeState, "active");
    await cluster.lab.killNode("w2");
  });

  it("comes back with autolock once its managers are unlocked", async () => {
    await setAutolock(cluster, true);
    const { UnlockKey } = await cluster.get<{ UnlockKey: string }>("m2", "/swarm/unlockkey");
    await switchOff(cluster);
    for (const name of remaining) await startAt(cluster, name, "+400d");
    for (const name of cluster.managers) {
      await until(async () => (await cluster.swarm(name)).LocalNodeState === "locked", {
        withinMs: 60_000,
        what: `${name} is locked`,
      });
      const path = "/swarm/unlock";
      await cluster.done(name, { method: "POST", path, body: { UnlockKey } });
    }
    await cluster.ready(remaining);
    await cluster.createSecret("m2", "after-400-days");
    await setAutolock(cluster, false);
  });

  for (const name of ["m3", "w1"]) {
    it(`goes on while the clock of ${name} alone is 200 days ahead, and takes it back`, async () => {
      const others = remaining.filter((other) => other !== name);
      await cluster.lab.killNode(name);
      await startAt(cluster, name, "+600d");
      await cluster.ready(others);
      await cluster.createSecret("m1", `while-${name}-is-ahead`);
      await cluster.lab.killNode(name);
      await startAt(cluster, name, "+400d");
      await cluster.ready(remaining);
      ok((await cluster.secrets("m3")).includes(`while-${name}-is-ahead`));
    });
  }
});

/** Switches autolock; resolves once every manager has written it down, as one whose power is cut before stays as it was. */
async function setAutolock(cluster: LabCluster, on: boolean): Promise<void> {
  const { Version, Spec } = await cluster.get<{ Version: { Index: number }; Spec: object }>(
    "m1",
    "/swarm",
  );
  await cluster.done("m1", {
    method: "POST",
    path: `/swarm/update?version=${Version.Index}`,
    body: { ...Spec, EncryptionConfig: { AutoLockManagers: on } },
  });
  for (const name of cluster.managers) {
    const file = join(cluster.lab.dir, name, "data", "node", "keys");
    await until(() => keysFileState(file) === (on ? "locked" : "open"), {
      withinMs: 60_000,
      what: `the keys file of ${name} follows autolock`,
    });
  }
}

async function switchOff({ lab }: LabCluster): Promise<void> {
  await Promise.all(lab.nodes().map((node) => lab.killNode(node.name)));
}

async function startAt({ lab }: LabCluster, name: string, shift: string): Promise<void> {
  await lab.startNode(name, { env: shiftedClock(shift) });
}

async function idOf(cluster: LabCluster, name: string): Promise<string | undefined> {
  const list = await cluster.nodes("m1");
  return list.find((node) => node.Description.Hostname === name)?.ID;
}
