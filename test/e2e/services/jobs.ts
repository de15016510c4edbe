/**
 * Jobs of `services.test.ts`: they end by themselves, and run again when somebody or their schedule says so.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { get } from "../../../src/cli/api.ts";
import { shiftedClock } from "../../../src/playground/playground.ts";
import type { ServiceBench } from "../../support/service-tools.ts";
import { until } from "../../support/wait.ts";

/** The tests, on a cluster of m1 to m3, w1 and w2. */
export function jobTests(bench: ServiceBench): void {
  const { rows, complete } = bench.tools;

  it("end by themselves as jobs, so many at a time, and run again when they are updated", async () => {
    const [lab, image] = [bench.lab(), bench.image()];
    const job = ["--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2"];
    const words = ["service", "create", "--detach", "--restart-delay", "500ms", "--name"];
    // The docker command waits until all are complete, slot by slot.
    const waiting = words.filter((word) => word !== "--detach");
    match(await lab.docker("m1", [...waiting, "shown", ...job, image, "true"]), /job complete/);
    await lab.docker("m1", ["service", "rm", "shown"]);
    await lab.docker("m1", [...words, "sum", ...job, image, "sh", "-c", "echo done"]);
    await lab.docker("m2", [...words, "each", "--mode", "global-job", image, "true"]);
    const first = await complete("sum", 5);
    // It has the node in place of the slot 0.
    const names = first.map(({ name }) => name.replace(/\w{25}/, "0")).sort();
    deepEqual(names, ["sum.0", "sum.1", "sum.2", "sum.3", "sum.4"]);
    const all = (await complete("each", 5)).map(({ node }) => node).sort();
    deepEqual(all, ["m1", "m2", "m3", "w1", "w2"]);
    const list = await lab.docker("m3", [
      "service",
      "ls",
      "--format",
      "{{.Name}} {{.Mode}} {{.Replicas}}",
    ]);
    deepEqual(list.split("\n").sort(), [
      "each global job 0/0 (5/5 completed)",
      "sum replicated job 0/2 (5/5 completed)",
    ]);
    await lab.docker("m1", ["service", "update", "--detach", "--force", "sum"]);
    const second = await complete("sum", 5);
    deepEqual(
      second.filter(({ id }) => first.some((task) => task.id === id)),
      [],
    );
    const format = "{{.JobStatus.JobIteration.Index}} {{.UpdateStatus}}";
    equal(await lab.docker("m1", ["service", "inspect", "--format", format, "sum"]), "1 <nil>");
    // One with a schedule waits for its time, or for its user.
    const never = ["--mode", "replicated-job", "--label", "skep.cron=0 0 29 2 *"];
    await lab.docker("m1", [...words, "leap", ...never, image, "true"]);
    await lab.docker("m1", ["service", "update", "--detach", "--env-add", "A=1", "leap"]);
    deepEqual(await rows("leap"), []);
    await lab.docker("m1", ["service", "update", "--detach", "--force", "leap"]);
    await complete("leap", 1);
  });
}

/** A run of a job on a schedule, as the API has it. */
interface Firing {
  readonly DueAt: string;
  readonly Outcome: string;
  readonly JobIteration: { readonly Index: number };
}

const minuteMs = 60_000;

/** Jobs on a schedule, after which the clocks of the managers are others. */
export function cronTests(bench: ServiceBench): void {
  const { rows } = bench.tools;

  it("begin by their schedule once each, under leaders that are killed and whose clocks differ", async () => {
    const [lab, image] = [bench.lab(), bench.image()];
    const labels = ["skep.cron=* * * * *", "skep.cron.concurrency=allow", "skep.cron.history=100"];
    // What was begun is to be seen to the last task.
    await lab.docker("m1", ["swarm", "update", "--task-history-limit", "100"]);
    await lab.docker("m1", [
      ...["service", "create", "--detach", "--name", "tick", "--mode", "replicated-job"],
      ...labels.flatMap((label) => ["--label", label]),
      ...[image, "true"],
    ]);
    const job = async () => {
      const host = `unix://${lab.playground.node("m1").socket}`;
      const { text } = await get(host, "/services/tick", {});
      const { CreatedAt, JobStatus } = JSON.parse(text);
      return { createdMs: Date.parse(CreatedAt), firings: (JobStatus.Firings ?? []) as Firing[] };
    };
    const restart = async (name: string, shift: string) => {
      await lab.playground.killDaemon(name);
      await lab.playground.startNode(name, { env: shiftedClock(shift) });
      const isWhole = async () =>
        (await lab.nodes(name)).every(({ manager }) => manager !== "Unreachable");
      await until(isWhole, { withinMs: 60_000, what: `${name} is back` });
    };
    // Minutes pass at once, for one manager after the other, and for a leader less than for the one before.
    await restart("m1", "+4m");
    await restart("m2", "+3m");
    await restart("m3", "+2m");
    await restart(await lab.leader("m1"), "+2m");
    const { createdMs, firings } = await until(
      async () => {
        const found = await job();
        const isOver = found.firings.every(({ Outcome }) => Outcome === "complete");
        const done = (await rows("tick")).filter(({ state }) => state === "Complete");
        return isOver && found.firings.length > 1 && done.length === found.firings.length && found;
      },
      { withinMs: 60_000, everyMs: 500, what: "each run has one task that is complete" },
    );
    const [first = 0, ...others] = firings.map(({ DueAt }) => Date.parse(DueAt));
    ok(first - createdMs > -1_000 && first - createdMs <= minuteMs, `${first - createdMs}`);
    const minutes = others.map((_, position) => first + (position + 1) * minuteMs);
    deepEqual(others, minutes);
    deepEqual(
      firings.map(({ JobIteration }) => JobIteration.Index),
      firings.map((_, position) => position + 1),
    );
  });
}
