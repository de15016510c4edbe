/**
 * Roll-outs of `services.test.ts` that something comes in between of: the leader dies, another update comes, the new release
 * never becomes healthy. What runs is read from the kernels, what a slot had from the API.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  type ReplicaBounds,
  replicasNow,
  watchedEnv,
  watchReplicas,
} from "../../support/replica-watch.ts";
import type { ServiceBench } from "../../support/service-tools.ts";
import type { SwarmLab } from "../../support/swarm-lab.ts";
import { until } from "../../support/wait.ts";

const managers = ["m1", "m2", "m3"];
const workers = ["w1", "w2"] as const;
const sleeper = "trap 'exit 143' TERM; sleep 3600 & wait";

/** The tests, on a cluster of m1 to m3, w1 and w2. */
export function rolloutTests(bench: ServiceBench): void {
  lostLeaders(bench);
  superseded(bench);
  neverHealthy(bench);
}

/** What the tests share: a service `roll` on the workers, and what there is of it. */
function rollouts(bench: ServiceBench) {
  const now = () => replicasNow(bench.lab(), workers, "roll");
  const ids = () => now().map(({ id }) => id);
  const count = (version: string) => now().filter((one) => one.version === version).length;
  const state = () => {
    const words = ["service", "inspect", "--format", "{{.UpdateStatus.State}}", "roll"];
    return bench.lab().docker("m1", words);
  };

  async function create(count: number, ...more: readonly string[]): Promise<void> {
    const words = ["service", "create", "--detach", "--no-resolve-image", "--name", "roll"];
    const where = ["--constraint", "node.role==worker", "--stop-grace-period", "1s"];
    const env = [...watchedEnv, "--env", "V=1", "--env", "SLOT={{.Task.Slot}}"];
    const soon = ["--update-monitor", "1s", "--rollback-monitor", "1s", "--restart-delay", "60s"];
    const flags = [...where, ...env, ...soon, "--replicas", `${count}`, ...more];
    await bench.lab().docker("m1", [...words, ...flags, bench.image(), "sh", "-c", sleeper]);
    await reaches(count, "1");
    await bench.tools.running("roll", count);
  }

  async function update(...flags: readonly string[]): Promise<void> {
    await bench.lab().docker("m1", ["service", "update", "--detach", ...flags, "roll"]);
  }

  /** Waits until so many replicas of a version live. */
  async function reaches(wanted: number, version: string): Promise<void> {
    await until(() => count(version) === wanted, {
      withinMs: 60_000,
      everyMs: 20,
      get what() {
        return `${wanted} replicas of version ${version}: ${JSON.stringify(now())}`;
      },
    });
  }

  /** Does something while the replicas are watched. */
  async function keeping(bounds: ReplicaBounds, work: () => Promise<void>): Promise<void> {
    const watch = watchReplicas(now, bounds);
    try {
      await work();
    } finally {
      deepEqual(await watch.stop(), []);
    }
  }

  return {
    ...{ now, ids, count, state, create, update, reaches, keeping },
    outcome: (from = "m1") => outcomeOf(bench.lab(), from),
    history: () => historyOf(bench.lab()),
  };
}

/** How its update ended, as a manager says that is there. */
async function outcomeOf(lab: SwarmLab, from: string): Promise<string> {
  const format = "{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}";
  let said = "";
  return until(
    async () => {
      said = await lab.docker(from, ["service", "inspect", "--format", format, "roll"]);
      return !/^(updating|rollback_started|):? /.test(said) && said;
    },
    {
      withinMs: 90_000,
      everyMs: 100,
      get what() {
        return `the update is over: ${said}`;
      },
    },
  );
}

/** Versions that the tasks of each slot had, the oldest first. */
async function historyOf(lab: SwarmLab): Promise<string[]> {
  const all = await lab.docker("m1", ["service", "ps", "--quiet", "--no-trunc", "roll"]);
  const format = "{{.CreatedAt}} {{.Slot}}{{range .Spec.ContainerSpec.Env}} {{.}}{{end}}";
  const words = ["inspect", "--type", "task", "--format", format, ...all.split("\n")];
  const had: string[][] = [];
  for (const line of (await lab.docker("m1", words)).split("\n").sort()) {
    const [, slot, version = ""] = / UTC (\d+) .*\bV=(\S+)/.exec(line) ?? [];
    const one = had[Number(slot) - 1] ?? [];
    had[Number(slot) - 1] = [...one, version];
  }
  return had.map((versions) => versions.join(" "));
}

function lostLeaders(bench: ServiceBench): void {
  const { now, count, state, create, update, reaches, outcome, history, keeping } = rollouts(bench);

  /**
   * Kills the daemon of the leader while replicas are of a version that none is to have in the end, and waits for that under
   * another leader.
   */
  async function endsWithout(leader: string, wanted: { version: string; said: string }) {
    const [other = ""] = managers.filter((name) => name !== leader);
    const lab = bench.lab();
    await lab.playground.killDaemon(leader);
    try {
      ok(now().some(({ version }) => version !== wanted.version));
      equal(await outcome(other), wanted.said);
      ok(now().every(({ version }) => version === wanted.version));
    } finally {
      await lab.playground.startNode(leader);
    }
    const all = [
      ...managers.map((name) => `${name} Ready Manager`),
      ...workers.map((name) => `${name} Ready`),
    ];
    for (const name of managers) await lab.settles(name, all);
  }

  it("go on with an update when its leader is killed, with no slot doubled, left behind or empty too long", async () => {
    await create(5, "--update-delay", "1s");
    await keeping({ least: 4, most: 5 }, async () => {
      const leader = await bench.lab().leader("m1");
      await update("--env-add", "V=2");
      await reaches(2, "2");
      await endsWithout(leader, { version: "2", said: "completed: update completed" });
    });
    equal(now().length, 5);
    deepEqual(await history(), ["1 2", "1 2", "1 2", "1 2", "1 2"]);
  });

  it("go on with the way back from a broken release when its leader is killed", async () => {
    const back = ["--update-failure-action", "rollback", "--rollback-order", "start-first"];
    await create(5, ...back, "--rollback-delay", "1s");
    const broken = `[ $SLOT -ne 5 ] || exit 4; ${sleeper}`;
    // One slot is empty at a time: for the update, and then the last one, whose task fails.
    await keeping({ least: 4, most: 6 }, async () => {
      const leader = await bench.lab().leader("m1");
      await update("--args", `sh -c "${broken}"`, "--env-add", "V=2");
      await until(async () => (await state()) === "rollback_started" && count("2") < 4, {
        withinMs: 60_000,
        everyMs: 20,
        what: "a slot has gone back",
      });
      const said = "rollback_completed: rollback completed";
      await endsWithout(leader, { version: "1", said });
    });
    equal(now().length, 5);
    const had = await history();
    // The one that failed, and perhaps the one that was to follow it after a while.
    match(had.pop() ?? "", /^1( 2)+ 1$/);
    deepEqual(had, ["1 2 1", "1 2 1", "1 2 1", "1 2 1"]);
  });
}

function superseded(bench: ServiceBench): void {
  const { now, create, update, reaches, outcome, history, keeping } = rollouts(bench);

  it("give way to another update, which takes every slot to its own spec", async () => {
    await create(3, "--update-delay", "1h");
    await keeping({ least: 2, most: 3 }, async () => {
      await update("--env-add", "V=2");
      await reaches(1, "2");
      await update("--env-add", "V=3", "--update-delay", "0s");
      equal(await outcome(), "completed: update completed");
    });
    deepEqual(
      now().map(({ version }) => version),
      ["3", "3", "3"],
    );
    deepEqual(await history(), ["1 2 3", "1 3", "1 3"]);
  });
}

function neverHealthy(bench: ServiceBench): void {
  const { ids, create, update, outcome, keeping } = rollouts(bench);

  it("pause or go back, as they are told to, when a release never becomes healthy, and the old one serves on", async () => {
    const lab = bench.lab();
    const health = ["--health-cmd", "true", "--health-interval", "200ms", "--health-retries", "1"];
    await create(2, ...health, "--update-order", "start-first");
    const first = ids().sort();
    const broken = ["--health-cmd", "false", "--env-add"];
    await keeping({ least: 2, most: 3 }, async () => {
      await update(...broken, "V=2");
      const paused = /update paused due to failure or early termination of task ([0-9a-z]{25})$/m;
      const [, task] = paused.exec(await outcome()) ?? [];
      const failed = (await bench.tools.rows("roll")).find(({ id }) => id === task);
      equal(failed?.state, "Failed");
      equal(failed?.error, '"task: non-zero exit (143): dockerexec: unhealthy container"');
      const pretty = await lab.docker("m1", ["service", "inspect", "--pretty", "roll"]);
      match(pretty, /^UpdateStatus:\n State:\s+paused\n Started:\s+.+\n Message:\s+update paused/m);
      await lab.docker("m1", ["service", "rollback", "--detach", "roll"]);
      equal(await outcome(), "rollback_completed: rollback completed");
      await update(...broken, "V=3", "--update-failure-action", "rollback");
      equal(await outcome(), "rollback_completed: rollback completed");
    });
    deepEqual(ids().sort(), first);
  });
}
