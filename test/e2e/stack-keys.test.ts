/**
 * The keys of Compose files that the stock client refuses or drops: each with its effect in the containers, and the file that
 * `skep stack export` makes of them.
 */
import { equal, match, ok } from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runStack } from "../../src/cli/stack/command.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { keysInside, keysSurroundings, writeStackOfKeys } from "../support/stack-keys.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

describe("keys of Compose files", function () {
  this.timeout(300_000);
  let lab: SwarmLab;
  let registry: TestRegistry;
  let folder: string;
  let file: string;

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-keys", ["w1", "w2"]);
    // Named resources are what the daemon is told of at its start.
    const resources = {
      w1: "bees=bee1,bees=bee2,bees=bee3,lanes=lane1,lanes=lane2,lanes=/dev/loop-control",
      w2: "lanes=lane3",
    };
    for (const [node, list] of Object.entries(resources)) {
      await lab.playground.killDaemon(node);
      await lab.playground.startNode(node, { flags: ["--node-generic-resource", list] });
    }
    await lab.form(["w1"], ["w2"]);
    const allowed = ["skep.privileged=allow", "skep.devices=allow"];
    const labels = allowed.flatMap((label) => ["--label-add", label]);
    await lab.docker("w1", ["node", "update", ...labels, "w1"]);
    const networkOf = lab.playground.labPid();
    ok(networkOf !== undefined);
    registry = await startRegistry({ host: "10.77.0.1", port: 5000, networkOf });
    await registry.pushTestImages();
    folder = lab.scratch();
    file = writeStackOfKeys(folder);
    await skep("deploy", "-c", file);
  });

  after(async () => {
    await registry?.stop();
    await lab?.down();
  });

  /** Runs a command of `skep stack`. @returns What it printed. */
  async function skep(...words: string[]): Promise<string> {
    let out = "";
    const say = (text: string) => {
      out += text;
    };
    const { socket, address } = lab.playground.node("w1");
    const environment = {
      DOCKER_HOST: `unix://${socket}`,
      IMAGE: `${registry.address}/busybox:1`,
      ADDRESS: address,
      ...keysSurroundings(),
    };
    equal(await runStack(words, { environment, folder, out: say, fail: say }), 0, out);
    return out;
  }

  /** The tasks of a service: name, node, state and error. */
  async function tasks(service: string): Promise<string> {
    const format = "{{.Name}}.{{.ID}} {{.Node}} {{.CurrentState}} {{.Error}}";
    const words = ["service", "ps", "--no-trunc", "--format", format, `keys_${service}`];
    return lab.docker("w1", words);
  }

  async function says(service: string, text: RegExp): Promise<string> {
    let last = "";
    return until(
      async () => {
        last = await tasks(service);
        return text.test(last) && last;
      },
      {
        withinMs: 90_000,
        everyMs: 100,
        get what() {
          return `${service}: ${text.source}, not ${last}`;
        },
      },
    );
  }

  /** Runs a command in the container of a service's one task. */
  async function inside(service: string, command: string): Promise<string> {
    const [, name = "", node = ""] =
      /^(\S+) (\S+) Running/m.exec(await says(service, / Running /)) ?? [];
    return lab.docker(node, ["exec", name, "sh", "-c", command]);
  }

  for (const [key, service, command, prints] of keysInside)
    it(`honour ${key}`, async () => match(await inside(service, command), prints));

  it("honour uts and cgroup", async () => {
    for (const kind of ["uts", "cgroup"]) {
      const { stdout } = await lab.playground.exec("w1", ["readlink", `/proc/self/ns/${kind}`]);
      equal(await inside("near", `readlink /proc/1/ns/${kind}`), stdout.trim(), kind);
    }
  });

  it("honour annotations and label_file", async () => {
    const [, name = ""] = /^(\S+)/.exec(await says("all", / Running /)) ?? [];
    const id = await lab.docker("w1", ["inspect", "--format", "{{.Id}}", name]);
    const bundle = "/run/skep/containerd-*/io.containerd.runtime.v2.task/skep";
    const given = await lab.playground.exec("w1", ["sh", "-c", `cat ${bundle}/${id}/config.json`]);
    const config = JSON.parse(given.stdout);
    equal(config.annotations["org.example.team"], "bees");
    const format = '{{index .Config.Labels "org.example.from"}}';
    equal(await lab.docker("w1", ["inspect", "--format", format, name]), "a file");
  });

  it("honour published, host_ip, name and app_protocol of ports", async () => {
    const get = (node: string) => {
      const { address } = lab.playground.node(node);
      const url = `http://${address}:8099/page`;
      return lab.playground.exec("w2", ["timeout", "5", "busybox", "wget", "-qO-", url]);
    };
    await until(async () => (await get("w1")).stdout === "page of ours", {
      withinMs: 60_000,
      what: "the page is served on w1",
    });
    equal((await get("w2")).stdout, "");
    const format =
      '{{(index .Spec.EndpointSpec.Ports 0).Name}} {{index .Spec.Labels "skep.publish.app-protocols"}}';
    const shown = await lab.docker("w1", ["service", "inspect", "--format", format, "keys_all"]);
    equal(shown, "web 80/tcp=http");
  });

  it("honour platform and pull_policy, and say so where nothing fits", async () => {
    await says("elsewhere", /Pending .*unsupported platform on 2 nodes/);
    await says("unpulled", /Rejected .*No such image: .*skep\.pull=never/);
  });

  it("honour name, include, profiles and depends_on", async () => {
    const names = (await skep("services", "keys")).match(/keys_\w+/g) ?? [];
    equal(
      names.sort().join(" "),
      "keys_all keys_elsewhere keys_far keys_included keys_near keys_unpulled",
    );
  });

  it("are the same in config, plan and export", async () => {
    const printed = await skep("config", "-c", file);
    writeFileSync(join(folder, "printed.yaml"), printed);
    equal(await skep("config", "-c", join(folder, "printed.yaml")), printed);
    match(await skep("plan", "-c", file), /^Stack keys: no change$/m);
    writeFileSync(join(folder, "exported.yaml"), await skep("export", "keys"));
    match(await skep("plan", "-c", join(folder, "exported.yaml")), /^Stack keys: no change$/m);
  });

  it("honour pre_stop, with the volume of another service", async () => {
    await lab.docker("w1", ["service", "scale", "--detach", "keys_all=0"]);
    await until(async () => !/ Running /.test(await tasks("all")), {
      withinMs: 60_000,
      what: "its task is stopped",
    });
    equal(await inside("near", "cat /shared/stopped"), "all");
  });
});
