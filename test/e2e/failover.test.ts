/**
 * What a cluster under writing clients survives (acceptance A5): power cuts of the leader and of everything, partitions,
 * lost and cut logs, and new addresses. Every acknowledged write has to be there once, on every manager; how long things
 * take is the business of `bench/failover.ts`.
 */
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { readdirSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { LabCluster } from "../support/lab-cluster.ts";
import { until } from "../support/wait.ts";
import { Writers } from "../support/writers.ts";

/** Writes per second of each of the four clients. */
const perSecond = 25;

describe("a cluster whose hosts fail", function () {
  this.timeout(240_000);
  let cluster: LabCluster;
  let written = 0;

  before(async () => {
    cluster = await LabCluster.form({ managers: 3, workers: 2 });
  });

  after(async () => cluster?.down());

  it("keeps every acknowledged write, once, when the leader loses its power", async () => {
    const writers = await Writers.start(cluster, { perSecond });
    for (let round = 0; round < 2; round++) {
      const leader = await cluster.leader();
      writers.follow(leader);
      await acknowledged(writers, 50);
      await cluster.lab.killNode(leader);
      const others = cluster.managers.filter((name) => name !== leader);
      const next = await cluster.leader(others);
      notEqual(next, leader);
      writers.follow(next);
      await acknowledged(writers, 100);
      await cluster.lab.startNode(leader);
      await cluster.ready();
    }
    await account(writers);
  });

  it("keeps every acknowledged write when the leader is cut off, and answers nothing stale there", async () => {
    const writers = await Writers.start(cluster, { perSecond });
    const leader = await cluster.leader();
    await acknowledged(writers, 50);
    await cluster.lab.partition([leader]);
    const others = cluster.managers.filter((name) => name !== leader);
    const next = await until(
      async () => {
        const name = await cluster.leader(others);
        return name === leader ? undefined : name;
      },
      { withinMs: 60_000, what: "the others have a leader of their own" },
    );
    writers.follow(next);
    await acknowledged(writers, 50);
    await cluster.createSecret(next, "made-beyond-the-partition");
    await answersNothingStale(leader);
    await cluster.lab.heal();
    await cluster.ready();
    await account(writers);
  });

  it("goes on without a follower that is cut off, which answers nothing stale", async () => {
    const writers = await Writers.start(cluster, { perSecond });
    const leader = await cluster.leader();
    const follower = cluster.managers.find((name) => name !== leader) ?? "";
    await cluster.lab.partition([follower, "w1"]);
    await acknowledged(writers, 100);
    await answersNothingStale(follower);
    await cluster.lab.heal();
    await cluster.ready();
    await account(writers);
  });

  it("takes a manager back whose raft folder is gone, and one whose log was cut", async () => {
    for (const damage of [loseRaftFolder, cutLog]) {
      const leader = await cluster.leader();
      const name = cluster.managers.find((manager) => manager !== leader) ?? "";
      await cluster.lab.killNode(name);
      damage(join(cluster.lab.dir, name, "data", "raft"));
      await cluster.createSecret(leader, `while-${name}-was-off-${damage.name}`);
      await cluster.lab.startNode(name);
      await cluster.ready();
      deepEqual((await cluster.secrets(name)).sort(), (await cluster.secrets(leader)).sort());
      equal((await cluster.nodes(name)).length, 5);
      // It counts again: with it, one other is enough.
      await cluster.lab.killNode(leader);
      const others = cluster.managers.filter((manager) => manager !== leader);
      await until(
        () => cluster.createSecret(name, `with-${name}-${damage.name}`).then(() => true),
        {
          withinMs: 60_000,
          what: "a write with the returned manager",
        },
      );
      await cluster.ready(others);
      await cluster.lab.startNode(leader);
      await cluster.ready();
    }
  });

  it("comes back when all hosts lose their power at once, started in any order", async () => {
    const writers = await Writers.start(cluster, { perSecond });
    await acknowledged(writers, 100);
    const { lab } = cluster;
    const stopped = writers.stop();
    await Promise.all(lab.nodes().map((node) => lab.killNode(node.name)));
    await stopped;
    const before = written;
    for (const name of ["w2", "m3", "w1", "m1", "m2"]) await lab.startNode(name);
    await cluster.ready();
    await account(writers);
    ok(written > before);
  });

  it("finds managers again that move to new addresses, one, then all in turn", async () => {
    const writers = await Writers.start(cluster, { perSecond });
    await moveTo("m2", "10.77.0.102");
    await moveTo("m1", "10.77.0.111");
    await moveTo("m2", "10.77.0.112");
    await moveTo("m3", "10.77.0.113");
    await account(writers);
    for (const worker of ["w1", "w2"]) {
      const known = (await cluster.swarm(worker)).RemoteManagers ?? [];
      deepEqual(known.map((manager) => manager.Addr).sort(), [
        "10.77.0.111:2377",
        "10.77.0.112:2377",
        "10.77.0.113:2377",
      ]);
    }
  });

  /** Ends the clients and holds every manager's list against what they were promised. */
  async function account(writers: Writers): Promise<void> {
    await writers.stop();
    ok(writers.acked.size > 0);
    written += writers.acked.size;
    const faults: string[] = [];
    for (const manager of cluster.managers) {
      const found = writers.faults(await cluster.secrets(manager));
      faults.push(...found.map((fault) => `${manager}: ${fault}`));
    }
    deepEqual(faults, []);
  }

  async function answersNothingStale(name: string): Promise<void> {
    const { status, body } = await cluster.ask(name, { path: "/secrets", timeoutMs: 8_000 });
    ok(status === 0 || status >= 500, `${name} answered ${status} ${JSON.stringify(body)}`);
  }

  /** Renumbers a host while it is off, as a machine that boots in another network would find itself. */
  async function moveTo(name: string, address: string): Promise<void> {
    const { lab } = cluster;
    await lab.killNode(name);
    await lab.readdress(name, address);
    await lab.startNode(name);
    await cluster.ready();
    for (const manager of cluster.managers) {
      await until(
        async () => {
          const list = await cluster.nodes(manager);
          const node = list.find((listed) => listed.Description.Hostname === name);
          return node?.ManagerStatus?.Addr === `${address}:2377` && node.Status.Addr === address;
        },
        { withinMs: 60_000, what: `${manager} shows the new address of ${name}` },
      );
    }
    equal((await cluster.swarm(name)).NodeAddr, address);
  }
});

/** As a disk that was exchanged. */
function loseRaftFolder(folder: string): void {
  rmSync(folder, { recursive: true });
}

/** As a disk that lost its last writes: the newest file of the log database ends half-way. */
function cutLog(folder: string): void {
  const log = join(folder, "log");
  const newest = readdirSync(log)
    .filter((name) => name.endsWith(".log"))
    .sort()
    .at(-1);
  ok(newest !== undefined);
  truncateSync(join(log, newest), 0);
}

async function acknowledged(writers: Writers, amount: number): Promise<void> {
  const enough = writers.acked.size + amount;
  await until(() => writers.acked.size >= enough, {
    withinMs: 90_000,
    what: `${amount} more writes acknowledged`,
  });
}
