/**
 * Services whose tasks run: from `docker service create` on a manager to containers on other nodes and back, through
 * scaling, lost hosts, lost daemons and removal. What runs is read from the kernel of each host.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { serviceTools } from "../support/service-tools.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";
import { cronTests, jobTests } from "./services/jobs.ts";
import { rolloutTests } from "./services/rollouts.ts";
import { stackTests } from "./services/stacks.ts";

const managers = ["m1", "m2", "m3"];
const workers = ["w1", "w2"];
const labAddress = "10.77.0.1";

describe("services", function () {
  this.timeout(120_000);
  let lab: SwarmLab;
  let registry: TestRegistry;
  let image: string;

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-services", [...managers, ...workers]);
    await lab.form(managers, workers);
    const networkOf = lab.playground.labPid();
    ok(networkOf !== undefined);
    registry = await startRegistry({ host: labAddress, port: 5000, networkOf });
    await registry.pushTestImages();
    image = `${registry.address}/busybox:1`;
  });

  after(async () => {
    await registry?.stop();
    await lab?.down();
  });

  afterEach(async () => {
    const names = await lab.docker("m1", ["service", "ls", "--format", "{{.Name}}"]);
    for (const name of names.split("\n").filter((one) => one !== "")) {
      await lab.docker("m1", ["service", "rm", name]);
    }
    const hosts = [...managers, ...workers];
    await until(() => hosts.every((host) => processes(host, "sleep 36").length === 0), {
      withinMs: 30_000,
      what: "no container is left",
    });
  });

  /** Makes a service of sleepers; resolves once it has as many running as it is to have. */
  async function create(name: string, replicas: number, ...more: readonly string[]): Promise<void> {
    const words = ["--name", name, "--replicas", `${replicas}`, "--restart-delay", "1s"];
    const grace = ["--stop-grace-period", "1s", "--detach"];
    await lab.docker("m1", ["service", "create", ...words, ...grace, ...more, image, ...sleeper]);
    await running(name, replicas);
  }

  /** Waits until so many sleepers run on a host: a task runs as soon as its shell does, which starts the sleeper. */
  async function asleep(host: string, count: number): Promise<void> {
    await until(() => processes(host, "sleep 36").length === count, {
      withinMs: 20_000,
      get what() {
        return `${count} sleepers on ${host}: ${processes(host, "sleep 36")}`;
      },
    });
  }

  const tools = serviceTools(() => lab);
  const { rows, running, updated, skep, volumesOf, processes, processesWith } = tools;
  const bench = { lab: () => lab, image: () => image, tools };
  const sleeper = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"];

  // At once after their start: what the node knows of that is not on its disk yet.
  it("run again after a reboot without managers, those with secrets once there is one", async () => {
    await lab.docker("m1", ["secret", "create", "key", "-"], "hidden honey");
    await create("web", 2, "--constraint", "node.role==worker");
    await create("safe", 1, "--constraint", "node.hostname==w1", "--secret", "key");
    await Promise.all(managers.map((name) => lab.playground.killDaemon(name)));
    await lab.playground.killNode("w1");
    await lab.playground.startNode("w1");
    const names = () => lab.docker("w1", ["ps", "--format", "{{.Names}}"]);
    await until(async () => (await names()).startsWith("web."), {
      withinMs: 60_000,
      what: "the task without secrets runs on w1",
    });
    equal((await names()).split("\n").length, 1);
    await Promise.all(managers.map((name) => lab.playground.startNode(name)));
    await running("safe", 1);
    await running("web", 2);
    await lab.docker("m1", ["service", "rm", "safe"]);
    await lab.docker("m1", ["secret", "rm", "key"]);
  });

  it("run on all nodes, are scaled, and leave nothing when they are removed", async () => {
    await create("web", 5);
    const tasks = await running("web", 5);
    deepEqual(tasks.map(({ node }) => node).sort(), [...managers, ...workers]);
    for (const host of [...managers, ...workers]) await asleep(host, 1);
    match(await lab.docker("m3", ["service", "ls"]), /web\s+replicated\s+5\/5/);
    await lab.docker("m2", ["service", "scale", "--detach", "web=2"]);
    const left = await running("web", 2);
    await until(
      () =>
        [...managers, ...workers].filter((h) => processes(h, "sleep 36").length > 0).length === 2,
      { withinMs: 20_000, what: "two containers are left" },
    );
    for (const { node } of left) equal(processes(node, "sleep 36").length, 1);
  });

  it("show their container to the docker command of its node", async () => {
    await create("web", 1, "--constraint", "node.hostname==w1", "--env", "A={{.Task.Name}}");
    const [task] = await running("web", 1);
    const name = `web.1.${task?.id}`;
    equal(await lab.docker("w1", ["ps", "--format", "{{.Names}}"]), name);
    equal(await lab.docker("w1", ["exec", name, "sh", "-c", "echo $A"]), name);
    const format = '{{index .Config.Labels "com.docker.swarm.service.name"}}';
    equal(await lab.docker("w1", ["inspect", "--format", format, name]), "web");
  });

  it("tell what became of tasks that ended, and try again", async () => {
    const words = ["service", "create", "--detach", "--name", "brief", "--restart-delay", "1s"];
    await lab.docker("m1", [...words, image, "sh", "-c", "exit 3"]);
    await until(
      async () => {
        const failed = (await rows("brief")).filter(({ state }) => state === "Failed");
        return failed.length > 1 && failed.every(({ error }) => error.includes("exit (3)"));
      },
      { withinMs: 30_000, what: "two tasks failed" },
    );
  });

  const refusals: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["an image that is not there", [], /^Rejected .*(No such image|not found|manifest unknown)/i],
    ["a command that is not there", ["no-such-program"], /^Failed .*no-such-program/],
    [
      "a bind source that is not there",
      ["--mount", "type=bind,src=/no/where,dst=/x"],
      /^Rejected .*\/no\/where/,
    ],
    ["a user that is not there", ["--user", "nobody-here"], /^Rejected .*nobody-here/],
  ];
  for (const [what, more, why] of refusals) {
    it(`say why for ${what}`, async () => {
      const isCommand = more.length > 0 && !(more[0] ?? "").startsWith("--");
      const flags = isCommand ? [] : more;
      const command = isCommand ? more : sleeper;
      const from = more.length === 0 ? `${registry.address}/absent:1` : image;
      const words = ["service", "create", "--detach", "--no-resolve-image", "--name", "bad"];
      await lab.docker("m1", [...words, "--restart-delay", "2s", ...flags, from, ...command]);
      await until(async () => (await rows("bad")).some((r) => why.test(`${r.state} ${r.error}`)), {
        withinMs: 30_000,
        what: `a task is ${why.source}`,
      }).catch(async (error: Error) => {
        throw new Error(`${error.message}: ${JSON.stringify(await rows("bad"))}`, { cause: error });
      });
    });
  }

  it("keep their processes while every daemon is killed, and tell of an end in the gap", async () => {
    await create("web", 5);
    const hosts = [...managers, ...workers];
    for (const host of hosts) await asleep(host, 1);
    const before = hosts.map((host) => processes(host, "sleep 36"));
    const ids = (await running("web", 5)).map(({ id }) => id).sort();
    await Promise.all(hosts.map((host) => lab.playground.killDaemon(host)));
    const [victim] = processes("w2", "sh -c trap");
    ok(victim !== undefined);
    const { hostPid } = lab.playground.node("w2");
    await lab.playground.exec("w2", ["kill", "-9", `${victim}`]);
    ok(hostPid !== undefined);
    await Promise.all(hosts.map((host) => lab.playground.startNode(host)));
    await until(
      async () =>
        (await rows("web")).some((r) => r.node === "w2" && r.error.includes("exit (137)")),
      { withinMs: 60_000, what: "the end in the gap is told" },
    );
    const after = await running("web", 5);
    const kept = after.filter(({ id }) => ids.includes(id));
    equal(kept.length, 4);
    for (const [position, host] of hosts.entries()) {
      if (host !== "w2") deepEqual(processes(host, "sleep 36"), before[position]);
    }
  });

  it("move from a host that loses its power, and its old containers are gone when it is back", async () => {
    await create("web", 2, "--constraint", "node.role==worker");
    const [before] = (await running("web", 2)).filter(({ node }) => node === "w2");
    notEqual(before, undefined);
    // One that has its data there, and another one that asks for it once it is known to be there.
    const mount = ["--mount", "type=volume,source=hive,target=/hive"];
    const here = ["--constraint", "node.hostname==w2"];
    await create("db", 1, ...mount, ...here);
    const inside = async (name: string, command: string) => {
      const [task] = await running(name, 1);
      return lab.docker("w2", ["exec", `${name}.1.${task?.id}`, "sh", "-c", command]);
    };
    await inside("db", "echo honey >/hive/comb");
    const freed = ["--constraint-rm", here[1] ?? ""];
    await lab.docker("m1", ["service", "update", "--detach", ...freed, "db"]);
    await create("reader", 1, ...mount);
    equal(await inside("reader", "cat /hive/comb"), "honey");
    await until(async () => (await volumesOf("*")) === "hive", {
      withinMs: 60_000,
      what: "the volume is listed by managers",
    });
    await lab.playground.killNode("w2");
    await until(
      async () => {
        const up = await running("web", 2).catch(() => []);
        return up.every(({ node }) => node === "w1");
      },
      { withinMs: 60_000, what: "both run on w1" },
    );
    const waits =
      /no suitable node \(no local volume hive on 4 nodes: it is on w2 \(the label skep\.volumes=anywhere .*; 1 node not available for new tasks\)/;
    for (const name of ["db", "reader"]) {
      await until(
        async () => (await rows(name)).some((r) => r.state === "Pending" && waits.test(r.error)),
        { withinMs: 30_000, what: `a task of ${name} waits for its volume` },
      );
    }
    equal(await volumesOf("w2"), "hive");
    await lab.refused("m1", ["volume", "rm", "hive"], /no such volume/i);
    await lab.docker("m1", ["service", "update", "--label-add", "skep.rebalance=auto", "web"]);
    await lab.playground.startNode("w2");
    await lab.settles("m1", [
      ...managers.map((name) => `${name} Ready Manager`),
      ...workers.map((name) => `${name} Ready`),
    ]);
    equal(await inside("db", "cat /hive/comb"), "honey");
    await lab.refused("w2", ["volume", "rm", "hive"], /volume is in use - \[[0-9a-f]{64}/);
    await lab.docker("m1", ["service", "rm", "db", "reader"]);
    await until(async () => (await lab.try("w2", ["volume", "rm", "hive"])).code === 0, {
      withinMs: 30_000,
      what: "the volume can be removed",
    });
    const [, moved] = await until(
      async () => {
        const tasks = await running("web", 2);
        tasks.sort((a, b) => (a.node < b.node ? -1 : 1));
        return tasks.map(({ node }) => node).join(" ") === "w1 w2" && tasks;
      },
      { withinMs: 60_000, everyMs: 500, what: "one of web has moved back to w2" },
    );
    equal(await lab.docker("w2", ["ps", "--format", "{{.Names}}"]), `${moved?.name}.${moved?.id}`);
    await asleep("w2", 1);
  });

  it("are updated slot by slot, pause when the new command fails, and are rolled back", async () => {
    const update = ["--update-monitor", "2s", "--rollback-monitor", "1s"];
    await create("turn", 3, ...update, "--rollback-parallelism", "0");
    const first = (await running("turn", 3)).map(({ id }) => id);
    await lab.docker("m2", ["service", "update", "--detach", "--env-add", "A=1", "turn"]);
    equal(await updated("turn"), "completed: update completed");
    const second = (await running("turn", 3)).map(({ id }) => id);
    deepEqual(
      second.filter((id) => first.includes(id)),
      [],
    );
    // Without a delay the next slot follows as soon as this one runs, which it does for a moment.
    const failing = ["--update-delay", "10s", "--args", "sh -c 'exit 4'"];
    await lab.docker("m2", ["service", "update", "--detach", ...failing, "turn"]);
    match(
      await updated("turn"),
      /^paused: update paused due to failure or early termination of task [0-9a-z]{25}$/,
    );
    const left = (await running("turn", 2)).map(({ id }) => id);
    ok(left.every((id) => second.includes(id)));
    const failed = (await rows("turn")).filter(({ state }) => state === "Failed");
    equal(failed[0]?.error, `"task: non-zero exit (4)"`);
    await lab.docker("m3", ["service", "rollback", "--detach", "turn"]);
    equal(await updated("turn"), "rollback_completed: rollback completed");
    const last = (await running("turn", 3)).map(({ id }) => id);
    ok(left.every((id) => last.includes(id)));
  });

  rolloutTests(bench);
  jobTests(bench);

  it("leave a drained host, and those of a global service come back to it", async () => {
    const words = ["--mode", "global", "--stop-grace-period", "1s", "--detach", "--name", "all"];
    const where = ["--constraint", "node.role==worker"];
    await lab.docker("m1", ["service", "create", ...words, ...where, image, ...sleeper]);
    await create("two", 2, ...where);
    await running("all", 2);
    await lab.docker("m1", ["node", "update", "--availability", "drain", "w1"]);
    await until(() => processes("w1", "sleep 36").length === 0, {
      withinMs: 20_000,
      what: "nothing runs on w1",
    });
    deepEqual(
      (await running("two", 2)).map(({ node }) => node),
      ["w2", "w2"],
    );
    match(await lab.docker("m3", ["service", "ls"]), /all\s+global\s+1\/1/);
    await lab.docker("m1", ["node", "update", "--availability", "active", "w1"]);
    await running("all", 2);
    deepEqual(
      (await running("two", 2)).map(({ node }) => node),
      ["w2", "w2"],
    );
    equal(await skep("service", "rebalance", "two"), "two: 1 task moved\n");
  });

  it("read secrets and configs that only their nodes are given", async () => {
    const hidden = "hidden honey";
    await lab.docker("m1", ["secret", "create", "key", "-"], hidden);
    await lab.docker("m1", ["config", "create", "page", "-"], "some page");
    const template = `{{.Service.Name}} {{.Node.Hostname}} {{env "A"}} {{secret "key"}}`;
    const driver = ["--template-driver", "golang"];
    await lab.docker("m2", ["config", "create", ...driver, "filled", "-"], template);
    const reads = ["--secret", "key", "--config", "source=page,target=/etc/page"];
    const owned = ["--config", "source=filled,target=/srv/filled,uid=7,gid=8,mode=0460"];
    const label = ["--label", "skep.env.secret.KEY=key", "--env", "A={{.Task.Slot}}"];
    const where = ["--constraint", "node.hostname==w1"];
    await create("web", 1, ...reads, ...owned, ...label, ...where);
    const [task] = await running("web", 1);
    const name = `web.1.${task?.id}`;
    const inside = (command: string) => lab.docker("w1", ["exec", name, "sh", "-c", command]);
    equal(
      await inside("cat /run/secrets/key /etc/page; tr '\\0' '\\n' </proc/1/environ | grep KEY"),
      `${hidden}some pageKEY=${hidden}`,
    );
    equal(await inside("echo $KEY"), hidden);
    const form = "stat -c '%u %g %a' /srv/filled /run/secrets/key; cat /srv/filled";
    equal(await inside(form), `7 8 460\n0 0 444\nweb w1 1 ${hidden}`);
    for (const what of [
      ["service", "inspect", "web"],
      ["secret", "inspect", "key"],
    ])
      ok(!(await lab.docker("m1", what)).includes(hidden));
    ok(!(await lab.docker("w1", ["inspect", name])).includes(hidden));
    const [pid] = processes("w1", "sh -c trap");
    const limits = `/proc/${lab.playground.node("w1").hostPid}/root/proc/${pid}/limits`;
    match(readFileSync(limits, "utf8"), /Max core file size +0 +0 /);
    match(await inside("grep core /proc/self/limits"), /Max core file size +0 +0 /);
    /** Files of a host that have the secret in them: in memory, and on its disk. */
    const found = async (host: string) => {
      const disk = await lab.info(host, ".DockerRootDir");
      const words = ["grep", "-rlFs", hidden, "/run", "/dev/shm", disk];
      return (await lab.playground.exec(host, words)).stdout.trim();
    };
    for (const host of ["m1", "w2"]) equal(await found(host), "");
    match(await found("w1"), /^(?:\/run\/skep\/skep-[^\n]+\n?)+$/);
    const log = (host: string) => readFileSync(lab.playground.node(host).log, "utf8");
    for (const host of [...managers, ...workers]) ok(!log(host).includes(hidden), host);
    // The memory of every process of a worker without such a task, and, so that it counts, of the one with it.
    deepEqual(processesWith("w2", hidden), []);
    ok(processesWith("w1", hidden).includes("skep daemon"));
    await lab.docker("m1", ["service", "scale", "--detach", "web=0"]);
    await until(async () => (await rows("web")).every(({ state }) => state === "Shutdown"), {
      withinMs: 30_000,
      what: "the task has ended",
    });
    await until(async () => (await found("w1")) === "", {
      withinMs: 30_000,
      what: "the secret is gone from the node",
    });
    await lab.docker("m1", ["service", "rm", "web"]);
    await lab.docker("m1", ["secret", "rm", "key"]);
    await lab.docker("m1", ["config", "rm", "page", "filled"]);
  });

  stackTests(bench);

  it("run only once they are healthy, and are replaced when they are not any more", async () => {
    const check = ["--health-cmd", "test -e /fine", "--health-interval", "200ms"];
    const rules = ["--health-retries", "2", "--health-start-period", "60s"];
    const where = ["--constraint", "node.hostname==w1", "--stop-grace-period", "1s"];
    const words = ["--detach", "--name", "web", "--restart-delay", "1s"];
    await lab.docker("m1", [
      ...["service", "create", ...words, ...where, ...check, ...rules, image],
      ...sleeper,
    ]);
    const [first] = await until(
      async () => {
        const starting = (await rows("web")).filter(({ state }) => state === "Starting");
        return starting.length === 1 && processes("w1", "sleep 36").length === 1 && starting;
      },
      { withinMs: 30_000, what: "a task is Starting, its container up" },
    );
    const container = `web.1.${first?.id}`;
    await lab.docker("w1", ["exec", container, "touch", "/fine"]);
    deepEqual(
      (await running("web", 1)).map(({ id }) => id),
      [first?.id],
    );
    // A change that never becomes healthy goes by itself, and the task it was to replace runs on.
    const never = ["--health-cmd", "false", "--health-retries", "1", "--health-start-period", "0s"];
    const back = ["--update-failure-action", "rollback", "--update-order", "start-first"];
    const soon = ["--update-monitor", "500ms", "--rollback-monitor", "500ms"];
    await lab.docker("m1", ["service", "update", "--detach", ...never, ...back, ...soon, "web"]);
    equal(await updated("web"), "rollback_completed: rollback completed");
    ok((await rows("web")).some(({ error }) => error.includes("unhealthy container")));
    deepEqual(
      (await running("web", 1)).map(({ id }) => id),
      [first?.id],
    );
    await lab.docker("w1", ["exec", container, "rm", "/fine"]);
    await until(
      async () =>
        (await rows("web")).some(
          ({ id, state, error }) =>
            id === first?.id && state === "Failed" && error.includes("unhealthy container"),
        ),
      { withinMs: 30_000, what: "the task failed as unhealthy" },
    );
  });

  it("are given up while their image is being pulled, without a trace", async () => {
    process.kill(registry.pid, "SIGSTOP");
    try {
      const from = `${registry.address}/defaults:1`;
      const words = ["service", "create", "--detach", "--no-resolve-image", "--name", "slow"];
      await lab.docker("m1", [...words, "--constraint", "node.hostname==w2", from, ...sleeper]);
      await until(async () => (await rows("slow")).some(({ state }) => state === "Preparing"), {
        withinMs: 30_000,
        what: "the task is Preparing",
      });
      const [task] = await rows("slow");
      await lab.docker("m1", ["service", "rm", "slow"]);
      const gone = async () => (await lab.try("m1", ["inspect", task?.id ?? ""])).code !== 0;
      await until(gone, { withinMs: 30_000, what: "the task is gone" });
    } finally {
      process.kill(registry.pid, "SIGCONT");
    }
    equal(await lab.docker("w2", ["ps", "--all", "--quiet"]), "");
  });

  it("go from a node that leaves the swarm, and come to one that joins where the swarm says so", async () => {
    equal(await skep("swarm", "rebalance", "auto"), "auto\n");
    await create("web", 2, "--constraint", "node.role==worker");
    const still = ["--constraint", "node.role==worker", "--label", "skep.rebalance=off"];
    await create("still", 2, ...still);
    await asleep("w2", 2);
    await lab.docker("w2", ["swarm", "leave"]);
    equal(await lab.docker("w2", ["ps", "--all", "--quiet"]), "");
    equal(processes("w2", "sleep 36").length, 0);
    await until(() => processes("w1", "sleep 36").length === 4, {
      withinMs: 30_000,
      what: "all run on w1",
    });
    const token = await lab.token("m1", "worker");
    await lab.docker("w2", ["swarm", "join", "--token", token, lab.remote("m1")]);
    const nodes = async (name: string) => (await running(name, 2)).map(({ node }) => node).sort();
    await until(async () => (await nodes("web")).join(" ") === "w1 w2", {
      withinMs: 60_000,
      everyMs: 500,
      what: "one of web has moved to w2",
    });
    deepEqual(await nodes("still"), ["w1", "w1"]);
    // Nobody is surprised by that option: the docker command's own update keeps it.
    await lab.docker("m2", ["swarm", "update", "--task-history-limit", "6"]);
    equal(await skep("swarm", "rebalance"), "auto\n");
    equal(await skep("swarm", "rebalance", "off"), "off\n");
  });

  // The last one: clocks of managers are others afterwards.
  cronTests(bench);
});
