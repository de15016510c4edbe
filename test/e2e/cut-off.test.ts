/**
 * An agent that no manager can reach for long: its containers run on, also under a daemon that is killed meanwhile; their work
 * is done elsewhere; and when it is back it ends what is not wanted any more, and nothing is done twice from then on.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { TaskLab } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

describe("an agent that is cut off", function () {
  this.timeout(300_000);
  let lab: TaskLab;

  before(async () => {
    lab = await TaskLab.up("skep-e2e-cut-off", { managers: ["m1"], workers: ["w1", "w2"] });
    // A node that is cut off is down after three seconds, so that a cut of half a minute is a long one.
    await lab.swarm.docker("m1", ["swarm", "update", "--dispatcher-heartbeat", "1s"]);
  });
  after(() => lab?.down());

  /** Names and pids of the containers of a service that run on a node, by the node's own word. */
  async function containers(node: string, service: string): Promise<string[]> {
    const label = `label=com.docker.swarm.service.name=${service}`;
    const ids = await lab.swarm.docker(node, ["ps", "-q", "--filter", label]);
    if (ids === "") return [];
    const words = ["inspect", "--format", "{{.Name}} {{.State.Pid}}", ...ids.split("\n")];
    return (await lab.swarm.docker(node, words)).split("\n").sort();
  }

  async function status(node: string): Promise<string | undefined> {
    return (await lab.swarm.nodes("m1")).find(({ hostname }) => hostname === node)?.status;
  }

  it("keeps its containers, loses its work to others, and is of use again", async () => {
    const flags = ["--replicas", "4", "--constraint", "node.role==worker"];
    const quick = ["--restart-delay", "100ms", "--stop-grace-period", "1s"];
    await lab.create(
      "m1",
      "spread",
      [...flags, ...quick],
      "trap 'exit 0' TERM; while :; do sleep 0.2; done",
    );
    const first = await lab.running("m1", "spread", 4);
    equal(first.filter(({ node }) => node === "w1").length, 2);
    const before = await containers("w1", "spread");
    equal(before.length, 2);

    await lab.swarm.playground.partition(["w1"]);
    await until(async () => (await status("w1")) === "Down", {
      withinMs: 60_000,
      what: "w1 is down",
    });
    await until(
      async () => (await lab.running("m1", "spread", 4)).every(({ node }) => node === "w2"),
      { withinMs: 60_000, what: "all four run on w2" },
    );
    deepEqual(await containers("w1", "spread"), before);
    await lab.swarm.playground.killDaemon("w1");
    await lab.swarm.playground.startNode("w1");
    await until(async () => (await containers("w1", "spread")).join() === before.join(), {
      withinMs: 60_000,
      what: "the daemon that was killed has its containers again",
    });

    await lab.swarm.playground.heal();
    await until(async () => (await status("w1")) === "Ready", {
      withinMs: 60_000,
      what: "w1 is back",
    });
    await until(async () => (await containers("w1", "spread")).length === 0, {
      withinMs: 60_000,
      what: "w1 has ended what others do now",
    });
    await lab.running("m1", "spread", 4);
    equal((await containers("w2", "spread")).length, 4);
    let old: unknown;
    await until(
      async () => {
        const tasks = (await lab.tasks("m1", "spread")).filter(({ node }) => node === "w1");
        old = tasks;
        return tasks.every(
          ({ desired, state }) => desired === "Shutdown" && !state.startsWith("Running"),
        );
      },
      {
        withinMs: 60_000,
        get what() {
          return `managers know that the old tasks have ended: ${JSON.stringify(old)}`;
        },
      },
    );

    await lab.swarm.docker("m1", ["service", "scale", "--detach", "spread=6"]);
    const more = await lab.running("m1", "spread", 6);
    ok(more.some(({ node }) => node === "w1"));
  });
});
