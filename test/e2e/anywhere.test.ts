/**
 * Containers of tasks from managers that do not run them: what users do with `docker exec`, `logs`, `cp` and the like, with
 * both clients, and what they are told when a node cannot be reached.
 */
import { equal, match, ok } from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { dockerClients } from "../support/docker.ts";
import { TaskLab, type TaskRow } from "../support/task-lab.ts";
import { until } from "../support/wait.ts";

/** Says a line now and then, and ends with 3 when it is asked to. */
const talker = "trap 'exit 3' TERM; i=0; while :; do i=$((i+1)); echo said $i; sleep 0.2; done";

describe("containers on other nodes", function () {
  this.timeout(300_000);
  let lab: TaskLab;

  before(async () => {
    const nodes = { managers: ["m1", "m2", "m3"], workers: ["w1", "w2"] };
    lab = await TaskLab.up("skep-e2e-anywhere", nodes);
    // A node that is cut off is down after three seconds.
    await lab.swarm.docker("m1", ["swarm", "update", "--dispatcher-heartbeat", "1s"]);
    const onW1 = ["--constraint", "node.hostname==w1", "--restart-delay", "100ms"];
    await lab.create("m1", "talk", onW1, talker);
    await lab.create(
      "m2",
      "pair",
      ["--mode", "global", "--constraint", "node.role==worker"],
      talker,
    );
  });
  after(() => lab?.down());

  async function talking(): Promise<{ task: TaskRow; name: string }> {
    const [task] = await lab.running("m1", "talk", 1);
    ok(task !== undefined);
    return { task, name: lab.containerName(task) };
  }

  for (const [i, client] of dockerClients().entries()) {
    describe(`with the ${client.name} client`, () => {
      let task: TaskRow;
      let name: string;
      beforeEach(async () => {
        lab.use(client);
        ({ task, name } = await talking());
      });

      it("exec runs in the container, by every name it has, from every manager", async () => {
        const { id } = JSON.parse(
          await lab.swarm.docker("m1", ["inspect", "-f", '{"id":"{{.Id}}"}', name]),
        );
        const names = [name, "talk.1", task.id, task.id.slice(0, 12), id, id.slice(0, 12)];
        for (const [j, reference] of names.entries()) {
          const on = `m${(j % 3) + 1}`;
          equal(await lab.swarm.docker(on, ["exec", reference, "hostname"]), id.slice(0, 12));
        }
      });

      it("exec gives exit code and both outputs", async () => {
        const words = ["exec", name, "sh", "-c", "echo out; echo err >&2; exit 9"];
        const { code, stdout, stderr } = await lab.swarm.try("m2", words);
        equal(code, 9);
        equal(stdout, "out\n");
        equal(stderr, "err\n");
        await lab.swarm.refused("m2", ["exec", name, "no-such-command"], /no-such-command/);
      });

      const megabytes = i === 0 ? 100 : 5;
      it(`exec takes ${megabytes} MB through its standard input, and gives bytes back as they are`, async () => {
        const sent = randomBytes(megabytes * 1_000_000);
        const digest = createHash("sha256").update(sent).digest("hex");
        const got = await lab.swarm.docker("m3", ["exec", "-i", name, "sha256sum"], sent);
        equal(got.split(" ")[0], digest);
        const some = sent.subarray(0, 3_000_000).toString("base64");
        equal(await lab.swarm.docker("m3", ["exec", "-i", name, "cat"], some), some);
      });

      it("exec -it has a terminal that follows the size of the user's", async () => {
        const flag = join(lab.swarm.scratch(), "go");
        const resize = `(until [ -e ${flag} ]; do sleep 0.1; done; stty rows 41 cols 121 </dev/tty)`;
        const sized = (size: string) =>
          `until stty size | grep -q '${size}'; do sleep 0.1; done; echo is ${size}`;
        const inside = `${sized("30 100")}; ${sized("41 121")}; exit 7`;
        const size = { rows: 30, columns: 100 };
        const line = `${resize} & exec $docker exec -it ${name} sh -c "${inside}"`;
        const running = lab.onTerminal("m2", size, line);
        await running.printed("is 30 100");
        writeFileSync(flag, "");
        await running.printed("is 41 121");
        equal(await running.code, 7);
      });

      it("cp copies both ways", async () => {
        const folder = lab.swarm.scratch();
        mkdirSync(join(folder, "tree", "deep"), { recursive: true });
        const data = randomBytes(2_000_000);
        writeFileSync(join(folder, "tree", "deep", "file"), data);
        await lab.swarm.docker("m2", ["cp", join(folder, "tree"), `${name}:/tmp/in${i}`]);
        const sum = await lab.swarm.docker("m1", [
          "exec",
          name,
          "sha256sum",
          `/tmp/in${i}/deep/file`,
        ]);
        equal(sum.split(" ")[0], createHash("sha256").update(data).digest("hex"));
        await lab.swarm.docker("m3", ["cp", `${name}:/tmp/in${i}`, join(folder, "back")]);
        ok(readFileSync(join(folder, "back", "deep", "file")).equals(data));
        await lab.swarm.refused("m3", ["cp", `${name}:/none`, folder], /none/);
        ok(!existsSync(join(folder, "none")));
      });

      it("logs, top, stats, diff and inspect show what the node shows", async () => {
        match(await lab.swarm.docker("m2", ["logs", "--tail", "2", name]), /^said \d+\nsaid \d+$/);
        match(await lab.swarm.docker("m2", ["top", name]), /sleep/);
        const stats = ["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", name];
        match(await lab.swarm.docker("m3", stats), new RegExp(`^${name} [\\d.]+[KMG]iB / `));
        await lab.swarm.docker("m2", ["exec", name, "touch", "/touched"]);
        match(await lab.swarm.docker("m3", ["diff", name]), /A \/touched/);
        const template = "{{.Status.ContainerStatus.ContainerID}} {{.NodeID}}";
        const byTask = await lab.swarm.docker("m2", ["inspect", "-f", template, task.id]);
        const id = await lab.swarm.docker("m2", ["inspect", "-f", "{{.Id}}", name]);
        equal(byTask.split(" ")[0], id);
        equal(await lab.swarm.docker("w1", ["inspect", "-f", "{{.Id}}", name]), id);
      });

      it("logs -f and attach go on until the container ends", async () => {
        const logs = lab.start("m2", ["logs", "-f", "--tail", "1", name]);
        const attached = lab.start("m3", ["attach", "--no-stdin", name]);
        await logs.printed(/said \d+\nsaid \d+/);
        await attached.printed(/said/);
        // What reaches the client goes on to the container.
        attached.child.kill("SIGTERM");
        equal(await attached.code, 3);
        equal(await logs.code, 0);
        await until(async () => (await talking()).name !== name, {
          withinMs: 60_000,
          what: "the task is replaced",
        });
      });

      it("kill reaches a container", async () => {
        const { code } = lab.start("m2", ["wait", name]);
        await lab.swarm.docker("m3", ["kill", name]);
        equal(await code, 0);
      });

      it("update and rm reach a container, and commit says where to run it", async () => {
        await lab.swarm.docker("m2", ["update", "--memory", "64m", "--memory-swap", "64m", name]);
        const limit = ["inspect", "-f", "{{.HostConfig.Memory}}", name];
        equal(await lab.swarm.docker("w1", limit), String(64 * 2 ** 20));
        await lab.swarm.refused("m3", ["commit", name], /is on node w1: .* run it there/);
        await lab.swarm.refused("m3", ["rm", name], /container is running/);
        await lab.swarm.docker("m3", ["rm", "--force", name]);
        await until(async () => (await talking()).name !== name, {
          withinMs: 60_000,
          what: "the task is replaced",
        });
        await lab.swarm.refused("w1", ["inspect", name], /is not on this node/);
      });

      it("a worker is no way to other nodes, and says so", async () => {
        await lab.swarm.refused("w2", ["exec", name, "true"], /is a worker: ask a manager/);
      });

      it("service logs have all tasks in the order of time", async () => {
        await lab.running("m1", "pair", 2);
        const words = ["service", "logs", "--timestamps", "--tail", "5", "pair"];
        const lines = (await lab.swarm.docker("m2", words)).split("\n");
        equal(lines.length, 10, lines.join("\n"));
        const times = lines.map((line) => line.slice(0, 30));
        equal(times.join(), [...times].sort().join());
        for (const node of ["w1", "w2"]) ok(lines.some((line) => line.includes(`@${node} `)));
        const one = await lab.swarm.docker("m3", [
          "service",
          "logs",
          "--raw",
          "--tail",
          "1",
          task.id,
        ]);
        match(one, /^said \d+$/);
      });
    });
  }

  describe("on a node that is cut off", () => {
    it("are told of within two seconds, and are back with it", async () => {
      const { name } = await talking();
      const followed = lab.start("m2", ["service", "logs", "-f", "--tail", "1", "pair"]);
      await followed.printed(/@w1 .*said[\s\S]*@w2 .*said|@w2 .*said[\s\S]*@w1 .*said/);
      await lab.swarm.playground.partition(["w1"]);
      await lab.swarm.refused("m1", ["exec", name, "true"], /is not available/);
      await followed.printed(/@w1 .*incomplete log stream/);
      const partly = await lab.swarm.try("m3", ["service", "logs", "--tail", "3", "pair"]);
      match(partly.stdout, /@w2 .*said/);
      match(partly.stderr, /incomplete log stream.*is not available/);
      await lab.swarm.playground.heal();
      const again = /[\s\S]*incomplete log stream[\s\S]*@w1 .*said/;
      await followed.printed(again, 60_000);
      followed.child.kill("SIGKILL");
      await lab.running("m1", "talk", 1);
    });
  });
});
