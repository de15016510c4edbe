/**
 * Jobs on a schedule over a real store: every firing once, whichever leader's clock says what; runs that take longer than
 * their period; what is kept of the past; changes of the schedule.
 */
import assert from "node:assert/strict";
import { updateConfig } from "../../../../../manager/control/payloads.ts";
import type { Leadership, Tools } from "../../../../../manager/orchestrator/leadership.ts";
import type { Follower } from "../../../../../manager/state/follow.ts";
import {
  Annotations,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  FileTarget,
  type JobFiring,
  ReplicatedJobMode,
  RestartPolicy,
  Service,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { firstJobStatus, nextJobStatus } from "../../../../../src/common/job/runs.ts";
import { seededRandom } from "../../../../../src/common/random/random.ts";
import { FakeCluster } from "../../../../support/fake-cluster.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** Its leaders' clocks are wrong by as much as they are told. */
class CronCluster extends FakeCluster {
  skewMs = 0;
  /** Components that are left out. */
  without: readonly string[] = ["replicated", "global", "update"];

  override loops(leadership: Leadership, tools: Tools): Follower[] {
    const { clock } = tools;
    const skewMs = this.skewMs;
    const skewed = {
      now: () => clock.now() + skewMs,
      monotonic: () => clock.monotonic(),
      sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
    };
    return super
      .loops(leadership, { ...tools, clock: skewed })
      .filter(({ component }) => !this.without.includes(component));
  }
}

describe("manager/orchestrator/cron/loop", function () {
  this.timeout(240_000);
  let cluster: CronCluster;

  beforeEach(async () => {
    cluster = new CronCluster();
    // On the hour, so that the times are easily told.
    await cluster.clock.advance(hourMs - (cluster.clock.now() % hourMs));
    await cluster.begin(2);
    cluster.command = () => ({ endsAfterMs: 0 });
  });
  afterEach(() => cluster.end());

  function specOf(labels: Readonly<Record<string, string>>, parts: Partial<TaskSpec> = {}) {
    return ServiceSpec.create({
      annotations: { name: "job", labels },
      task: TaskSpec.create({ runtime: "app", ...parts }),
      mode: ServiceMode.create({
        replicatedJob: ReplicatedJobMode.create({ totalCompletions: 1, maxConcurrent: 1 }),
      }),
    });
  }

  async function create(labels: Readonly<Record<string, string>>, parts: Partial<TaskSpec> = {}) {
    const spec = specOf(labels, parts);
    const jobStatus = firstJobStatus({ spec }, cluster.clock.now());
    await cluster.store.update((tx) =>
      tx.create("service", Service.create({ id: "job", spec, jobStatus })),
    );
  }

  /** As control does. */
  async function update(labels: Readonly<Record<string, string>>, parts: Partial<TaskSpec> = {}) {
    await cluster.store.update((tx) => {
      const before = cluster.service("job");
      const after = { ...before, spec: specOf(labels, parts) };
      const jobStatus = nextJobStatus(before, after, cluster.clock.now());
      tx.update("service", { ...after, jobStatus });
    });
  }

  const firings = (): readonly JobFiring[] => cluster.service("job").jobStatus?.firings ?? [];
  const outcomes = () => firings().map(({ outcome }) => outcome);
  const tasks = () => cluster.tasks("job");
  const minutes = (from: number) =>
    firings().map(({ nominalMs }) => (nominalMs === 0 ? "by hand" : (nominalMs - from) / minuteMs));

  async function leap(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 5_000) {
      await cluster.leap(Math.min(left, 5_000) - 80);
      // Time for what is due to come to its end.
      await cluster.pass(80);
    }
  }

  /** Lets a job fire so often, over elections; says when it did, in minutes, and which of its runs completed. */
  async function fireOverElections(count: number, concurrency: string) {
    const random = seededRandom(7);
    const from = cluster.clock.now();
    const begun: number[] = [];
    const completed: number[] = [];
    cluster.onChange.push((change) => {
      if (change.table === "task" && change.kind !== "remove") {
        const { jobIteration = 0, status } = change.object;
        if (status?.state === "complete" && change.old?.status?.state !== "complete")
          completed.push(jobIteration);
      }
      if (change.table !== "service") return;
      const { firings: now = [] } = change.object.jobStatus ?? {};
      const { firings: before = [] } = change.old?.jobStatus ?? {};
      for (const firing of now) {
        if (!before.some((one) => one.jobIteration === firing.jobIteration))
          begun.push((firing.nominalMs - from) / minuteMs);
      }
    });
    await create({ "skep.cron": "* * * * *", "skep.cron.concurrency": concurrency });
    let elections = 0;
    while ((begun.at(-1) ?? 0) < count) {
      // Sometimes at the very time, mostly anywhere.
      const into = cluster.clock.now() % minuteMs;
      const step = random.int(4) === 0 ? minuteMs - into : 1 + random.int(40_000);
      if (random.int(3) === 0) {
        // What the leader has just decided may be committed after its end, or be lost with it.
        cluster.log.automatic = random.int(2) === 0;
        await cluster.clock.advance(step);
        if (random.int(3) === 0) cluster.log.overwrite();
        cluster.skewMs = random.int(40_001) - 20_000;
        cluster.elect();
        elections++;
      }
      await cluster.leap(random.int(3) === 0 ? 1 : step);
    }
    assert.ok(elections > count / 4, `${elections} elections`);
    return { begun: begun.slice(0, count), completed };
  }

  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

  it("fires a thousand times, once each, over changes of leaders with clocks of their own", async () => {
    // The runs themselves are the next test's: this one is long enough without them.
    cluster.without = ["jobs", "reaper", "restart", "allocator", ...cluster.without];
    cluster.elect();
    const { begun } = await fireOverElections(1_000, "replace");
    assert.deepEqual(begun, upTo(1_000));
  });

  it("has every firing run its task, once, over changes of leaders", async () => {
    const { begun, completed } = await fireOverElections(60, "allow");
    await leap(minuteMs);
    assert.deepEqual(begun, upTo(60));
    assert.deepEqual(completed.sort((a, b) => a - b).slice(0, 60), upTo(60));
  });

  it("does not run when it is made, and keeps the tasks of the last runs", async () => {
    const from = cluster.clock.now();
    await create({ "skep.cron": "*/2 * * * *", "skep.cron.history": "2" });
    await leap(90_000);
    assert.deepEqual(tasks(), []);
    await leap(8 * minuteMs);
    assert.deepEqual(minutes(from), [6, 8]);
    assert.deepEqual(outcomes(), ["complete", "complete"]);
    assert.deepEqual(
      tasks().map(({ jobIteration }) => jobIteration),
      [3, 4],
    );
    assert.ok(tasks().every(({ status }) => status?.state === "complete"));
  });

  it("makes up for the latest firing after a time without a leader, if it may", async () => {
    for (const [deadline, expected] of [
      ["24h", "complete"],
      ["10m", "missed"],
    ] as const) {
      const labels = { "skep.cron": "0 */6 * * *", "skep.cron.zone": "Etc/UTC" };
      await create({ ...labels, "skep.cron.deadline": deadline });
      const before = cluster.clock.now();
      cluster.log.refusal = undefined;
      await cluster.end();
      await cluster.clock.advance(30 * hourMs + 20 * minuteMs);
      cluster.elect();
      await leap(minuteMs);
      assert.deepEqual(outcomes(), [expected]);
      const nominal = firings()[0]?.nominalMs ?? 0;
      assert.equal(nominal % (6 * hourMs), 0);
      assert.ok(cluster.clock.now() - nominal < 6 * hourMs && nominal > before);
      assert.equal(tasks().length, expected === "complete" ? 1 : 0);
      await cluster.removeService("job");
      await leap(minuteMs);
    }
  });

  describe("while the run before goes on", () => {
    const running = () =>
      tasks()
        .filter(({ status }) => status?.state === "running")
        .map(({ jobIteration }) => jobIteration);

    beforeEach(() => {
      cluster.command = () => ({ endsAfterMs: 150_000, stopsAfterMs: 2_000 });
    });

    it("leaves one out unless told otherwise", async () => {
      const from = cluster.clock.now();
      await create({ "skep.cron": "* * * * *" });
      await leap(2 * minuteMs + 5_000);
      assert.deepEqual(outcomes(), ["running", "skipped"]);
      assert.deepEqual(running(), [1]);
      await leap(2 * minuteMs);
      assert.deepEqual(minutes(from), [1, 3, 4]);
      assert.deepEqual(outcomes(), ["complete", "skipped", "running"]);
      assert.deepEqual(running(), [2]);
    });

    it("lets them run beside each other where that is allowed", async () => {
      await create({ "skep.cron": "* * * * *", "skep.cron.concurrency": "allow" });
      await leap(2 * minuteMs + 15_000);
      assert.deepEqual(running(), [1, 2]);
      assert.equal(new Set(tasks().map(({ slot }) => slot)).size, 1);
      await leap(2 * minuteMs);
      assert.deepEqual(outcomes(), ["complete", "running", "running", "running"]);
    });

    it("stops it where the next takes its place, and begins once it has stopped", async () => {
      await create({ "skep.cron": "* * * * *", "skep.cron.concurrency": "replace" });
      await leap(minuteMs + 10_000);
      assert.deepEqual(running(), [1]);
      await leap(55_000);
      assert.deepEqual(outcomes(), ["replaced", "running"]);
      await leap(15_000);
      assert.deepEqual(running(), [2]);
      assert.deepEqual(
        tasks().map(({ status }) => status?.state),
        ["shutdown", "running"],
      );
    });
  });

  it("calls a run failed that used up its attempts", async () => {
    cluster.command = () => ({ endsAfterMs: 0, exitCode: 1 });
    const restart = RestartPolicy.create({ condition: "any", delayNs: 0, maxAttempts: 1 });
    await create({ "skep.cron": "*/5 * * * *" }, { restart });
    await leap(6 * minuteMs);
    assert.deepEqual(outcomes(), ["failed"]);
    assert.equal(tasks().length, 2);
    await leap(10 * minuteMs);
    // One failed run is kept for show.
    assert.deepEqual(outcomes(), ["failed"]);
    assert.ok(tasks().every(({ jobIteration }) => jobIteration === 3));
  });

  it("runs at once when it is forced to, and is otherwise changed for the next time", async () => {
    const labels = { "skep.cron": "30 * * * *" };
    const from = cluster.clock.now();
    await create(labels);
    await update(labels, { runtime: "new" });
    await leap(minuteMs);
    assert.deepEqual(tasks(), []);
    await update(labels, { runtime: "new", forceUpdate: 1 });
    await leap(minuteMs);
    assert.deepEqual(minutes(from), ["by hand"]);
    assert.deepEqual(outcomes(), ["complete"]);
    await leap(30 * minuteMs);
    assert.deepEqual(minutes(from), ["by hand", 30]);
    assert.ok(tasks().every(({ spec }) => spec?.runtime === "new"));
  });

  it("counts another schedule from when it was given, and rests while it is suspended", async () => {
    const from = cluster.clock.now();
    await create({ "skep.cron": "*/10 * * * *" });
    await leap(12 * minuteMs);
    await update({ "skep.cron": "*/10 * * * *", "skep.cron.suspend": "true" });
    await leap(25 * minuteMs);
    assert.deepEqual(minutes(from), [10]);
    await update({ "skep.cron": "*/10 * * * *" });
    await leap(5 * minuteMs);
    // Those of minutes 20 and 30 are not made up for.
    assert.deepEqual(minutes(from), [10, 40]);
  });

  it("becomes a job of one run without the label, and back", async () => {
    await create({ "skep.cron": "*/10 * * * *" });
    await leap(11 * minuteMs);
    await update({});
    await leap(minuteMs);
    assert.deepEqual(firings(), []);
    assert.deepEqual(
      tasks()
        .filter(({ desiredState }) => desiredState === "complete")
        .map((t) => t.jobIteration),
      [2],
    );
    await update({ "skep.cron": "*/10 * * * *" });
    await leap(minuteMs);
    assert.deepEqual(outcomes(), ["complete"]);
    await leap(10 * minuteMs);
    assert.deepEqual(outcomes(), ["complete", "complete"]);
  });

  it("begins each run with the data its config has then, and does not begin one for it", async () => {
    const spec = (text: string) =>
      ConfigSpec.create({
        annotations: Annotations.create({ name: "page" }),
        data: Buffer.from(text),
      });
    await cluster.store.update((tx) =>
      tx.create("config", Config.create({ id: "page", spec: spec("one"), revision: 1 })),
    );
    const file = FileTarget.create({ name: "page" });
    const reference = ConfigReference.create({ configId: "page", configName: "page", file });
    const container = ContainerSpec.create({ configs: [reference] });
    await create({ "skep.cron": "0 * * * *", "skep.cron.history": "5" }, { container });
    await leap(hourMs + minuteMs);
    const revisions = () => tasks().map((task) => task.spec?.container?.configs[0]?.revision);
    assert.deepEqual(revisions(), [0]);
    await cluster.store.update((tx) => {
      const version = tx.get("config", "page")?.meta?.version ?? 0;
      updateConfig(tx, { id: "page", version, spec: spec("two") });
    });
    await leap(10 * minuteMs);
    assert.deepEqual(revisions(), [0]);
    cluster.elect();
    await leap(hourMs);
    assert.deepEqual(revisions(), [0, 2]);
    assert.equal(cluster.service("job").revision?.cause, "config page changed");
    await leap(hourMs);
    assert.deepEqual(revisions(), [0, 2, 2]);
    assert.equal(cluster.service("job").revision?.number, 2);
  });
});
