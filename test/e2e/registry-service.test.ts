/**
 * A registry that is itself a service of the cluster: other services start from what was pushed to it.
 */
import { equal, match, ok } from "node:assert/strict";
import { pushTestImagesTo, startRegistry, type TestRegistry } from "../support/registry.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

describe("a registry as a service", function () {
  this.timeout(300_000);
  let lab: SwarmLab;
  let first: TestRegistry;
  let networkOf: number;

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-hub", ["m1", "w1"]);
    await lab.form(["m1"], ["w1"]);
    const pid = lab.playground.labPid();
    ok(pid !== undefined);
    networkOf = pid;
    first = await startRegistry({ host: "10.77.0.1", port: 5000, networkOf });
    await pushTestImagesTo(first.address, { networkOf, also: "registry" });
  });
  after(async () => {
    await first?.stop();
    await lab?.down();
  });

  const create = (name: string, ...words: string[]) =>
    lab.docker("m1", ["service", "create", "--detach", "--name", name, ...words]);

  async function running(name: string, replicas: number): Promise<string> {
    const format = "{{.Node}} {{.CurrentState}} {{.Error}}";
    let rows = "";
    await until(
      async () => {
        rows = await lab.docker("m1", ["service", "ps", "--format", format, name]);
        return rows.split("\n").filter((row) => row.includes(" Running ")).length === replicas;
      },
      {
        withinMs: 90_000,
        get what() {
          return `${replicas} of ${name} running: ${rows}`;
        },
      },
    );
    return rows;
  }

  it("serves images that other services start from, on every node", async () => {
    const place = ["--network", "host", "--constraint", "node.hostname==w1"];
    await create("hub", ...place, `${first.address}/registry:1`);
    await running("hub", 1);
    const hub = `${lab.playground.node("w1").address}:5000`;
    const digests = await until(() => pushTestImagesTo(`${hub}/own`, { networkOf }), {
      withinMs: 60_000,
      what: "the registry of the cluster takes images",
    });
    const sleeper = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"];
    await create("user", "--mode", "global", `${hub}/own/busybox:1`, ...sleeper);
    const rows = await running("user", 2);
    match(rows, /^m1 /m);
    match(rows, /^w1 /m);
    const spec = await lab.docker("m1", [
      ...["service", "inspect", "user"],
      ...["--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"],
    ]);
    equal(spec.trim(), `${hub}/own/busybox:1@${digests["busybox:1"]}`);
    await lab.docker("m1", ["service", "rm", "hub", "user"]);
  });
});
