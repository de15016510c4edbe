/**
 * Stacks of `services.test.ts`: deployed by the docker command and by our own, changed, and removed and deployed again at once.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runStack } from "../../../src/cli/stack/command.ts";
import type { ServiceBench } from "../../support/service-tools.ts";
import { stackFile, writeBusyStack } from "../../support/stack-file.ts";

/** The tests, on a cluster of m1 to m3, w1 and w2. */
export function stackTests(bench: ServiceBench): void {
  changedFiles(bench);
  ourCommand(bench);
  atOnce(bench);
}

function changedFiles(bench: ServiceBench): void {
  const { running, updated, skep } = bench.tools;

  it("get the changed config and secret of a stack that is deployed again, and go back to both", async () => {
    const [lab, image] = [bench.lab(), bench.image()];
    const folder = lab.scratch();
    const file = join(folder, "compose.yml");
    const text = `version: "3.8"
services:
  web:
    image: ${image}
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
    stop_grace_period: 1s
    configs: [{source: page, target: /etc/page}]
    secrets: [key]
    deploy:
      placement: {constraints: [node.hostname==w1]}
      update_config: {monitor: 1s}
      rollback_config: {monitor: 1s}
configs:
  page: {file: ./page}
secrets:
  key: {file: ./key}
`;
    // Each page comes with an image of its own.
    const imageOf = (page: string) => (page.startsWith("second") ? "busybox:amd64" : "busybox:1");
    const deploy = async (page: string, key: string) => {
      writeFileSync(join(folder, "page"), page);
      writeFileSync(join(folder, "key"), key);
      writeFileSync(file, text.replace("busybox:1", imageOf(page)));
      await lab.docker("m2", ["stack", "deploy", "--resolve-image", "never", "-c", file, "st"]);
    };
    const reads = async () => {
      const [task] = await running("st_web", 1);
      const container = `st_web.1.${task?.id}`;
      const command = "cat /etc/page /run/secrets/key";
      const read = await lab.docker("w1", ["exec", container, "sh", "-c", command]);
      const from = await lab.docker("w1", ["inspect", "--format", "{{.Config.Image}}", container]);
      ok(from.endsWith(`/${imageOf(read)}`), from);
      return read;
    };
    await deploy("first page, ", "first key");
    equal(await reads(), "first page, first key");
    await deploy("second page, ", "second key");
    equal(await updated("st_web"), "completed: update completed");
    equal(await reads(), "second page, second key");
    await lab.refused("m1", ["config", "rm", "st_page"], /is in use by the following service/);
    await lab.docker("m1", ["service", "rollback", "--detach", "st_web"]);
    equal(await updated("st_web"), "rollback_completed: rollback completed");
    equal(await reads(), "first page, first key");
    match(
      await skep("service", "history", "st_web"),
      /^3 \* .* secret st_key 1 of 2, config st_page 1 of 2 +rolled/m,
    );
    await skep("service", "rollback", "--to", "2", "st_web");
    equal(await updated("st_web"), "rollback_completed: rollback completed");
    equal(await reads(), "second page, second key");
    await lab.docker("m1", ["stack", "rm", "st"]);
  });
}

function ourCommand(bench: ServiceBench): void {
  const { rows, running, tried } = bench.tools;

  it("are deployed by skep stack, each after what it depends on, and not touched by the same again", async () => {
    const [lab, image] = [bench.lab(), bench.image()];
    const folder = lab.scratch();
    const file = join(folder, "compose.yaml");
    writeFileSync(file, stackFile);
    const skep = async (...words: string[]) => {
      let out = "";
      const environment = {
        DOCKER_HOST: `unix://${lab.playground.node("m2").socket}`,
        IMAGE: image,
      };
      const say = (text: string) => {
        out += text;
      };
      const code = await runStack(words, { environment, folder, out: say, fail: say });
      equal(code === 3 && words[0] === "plan" ? 0 : code, 0, out);
      return out;
    };
    const deploy = () => skep("deploy", "-c", file, "--detach=false", "st");
    const first = await skep("plan", "-c", file, "st");
    match(
      first,
      /^\+ service st_web\n {4}starts 1 task\n {4}slot 1: w1\n {4}not on m1, m2, m3, w2: /m,
    );
    const made = await deploy();
    deepEqual(made.match(/(?<=Creating service ).*/g), ["st_prepare", "st_db", "st_web"]);
    const tasks = async () =>
      [...(await rows("st_web")), ...(await rows("st_db"))].map(({ id }) => id);
    const before = await tasks();
    const inside = (command: string) =>
      lab.docker("w1", ["exec", `st_web.1.${before[0]}`, "sh", "-c", command]);
    match(await inside("df -k /dev/shm | tail -1"), / 98304 /);
    match(await inside("df -k /scratch | tail -1"), / 1024 /);
    const words =
      "ulimit -n; cat /proc/sys/net/core/somaxconn /proc/sys/kernel/domainname /etc/page; ip -4 -o addr";
    match(
      await inside(words),
      new RegExp(`^512\n77\nskep.test\nimage ${image}.*10\\.98\\.7\\.77/`, "s"),
    );
    await deploy();
    deepEqual(await tasks(), before);
    match(await skep("plan", "-c", file, "st"), /^Stack st: no change$/m);
    // What a node has of an image it tells the manager that plans: w1 runs this one.
    const TaskTemplate = {
      ContainerSpec: { Image: image },
      Placement: { Constraints: ["node.hostname==w1"] },
    };
    const [need] = (await tried({ Name: "tried", TaskTemplate })).Images;
    equal(need?.Node.Hostname, "w1");
    equal(need?.PullBytes, 0);
    ok((need?.TotalBytes ?? 0) > 100_000);
    match(await skep("ps", "st"), /st_db\.1 .* w1 +Running +Running/);
    for (let round = 0; round < 3; round++) {
      await skep("rm", "st");
      await skep("deploy", "-c", file, "st");
    }
    await running("st_web", 1);
    await skep("rm", "st");
  });
}

function atOnce(bench: ServiceBench): void {
  const { running } = bench.tools;

  it("are removed and deployed again at once by the docker command, with all that has to go first", async () => {
    const [lab, image] = [bench.lab(), bench.image()];
    const file = writeBusyStack(lab.scratch(), image);
    const deploy = ["stack", "deploy", "--resolve-image", "never", "-c", file, "busy"];
    await lab.docker("m1", deploy);
    // Once while it runs, and twice before it does.
    await running("busy_db", 1);
    for (const manager of ["m2", "m3", "m1"]) {
      await lab.docker(manager, ["stack", "rm", "busy"]);
      await lab.docker(manager, deploy);
    }
    await running("busy_web", 3);
    await running("busy_db", 1);
    await lab.docker("m1", ["stack", "rm", "busy"]);
  });
}
