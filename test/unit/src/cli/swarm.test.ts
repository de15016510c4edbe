/**
 * What `skep swarm rebalance` asks of a daemon, and what it says.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runSwarm } from "../../../../src/cli/swarm.ts";

describe("src/cli/swarm", () => {
  let folder: string;
  let server: Server;
  let swarm: { Version: { Index: number }; Spec: Record<string, unknown> };
  /** What was sent to change it. */
  let sent: unknown[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-unit-"));
    swarm = { Version: { Index: 7 }, Spec: { Name: "default", Labels: { a: "b" } } };
    sent = [];
    server = createServer(async (request, reply) => {
      let body = "";
      for await (const piece of request) body += piece;
      if (request.method === "GET" && request.url === "/swarm") reply.end(JSON.stringify(swarm));
      else if (request.url !== `/swarm/update?version=${swarm.Version.Index}`) {
        reply.statusCode = 500;
        reply.end('{"message":"update out of sequence"}');
      } else {
        sent.push(JSON.parse(body));
        reply.end();
      }
    });
    await new Promise<void>((resolve) => server.listen(join(folder, "sock"), resolve));
  });

  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  async function run(...argv: readonly string[]): Promise<string> {
    let text = "";
    const say = (more: string) => {
      text += more;
    };
    const environment = { DOCKER_HOST: `unix://${join(folder, "sock")}` };
    const code = await runSwarm(argv, { environment, out: say, fail: say });
    return `${code} ${text}`;
  }

  it("says off where the swarm says nothing, and changes nothing", async () => {
    equal(await run("rebalance"), "0 off\n");
    equal(await run("rebalance", "off"), "0 off\n");
    deepEqual(sent, []);
  });

  it("sets it beside the other labels, on the version it has read", async () => {
    equal(await run("rebalance", "auto"), "0 auto\n");
    deepEqual(sent, [{ Name: "default", Labels: { a: "b", "skep.rebalance": "auto" } }]);
  });

  it("says what the swarm has", async () => {
    swarm.Spec = { Labels: { "skep.rebalance": "auto" } };
    equal(await run("rebalance"), "0 auto\n");
    equal(await run("rebalance", "off"), "0 off\n");
    deepEqual(sent, [{ Labels: { "skep.rebalance": "off" } }]);
  });

  it("says how it is used, and what the daemon says", async () => {
    match(await run("--help"), /^0 Usage: skep swarm rebalance/);
    for (const words of [[], ["spread"], ["rebalance", "on"], ["rebalance", "auto", "web"]])
      match(await run(...words), /^2 Usage:/);
    await new Promise((resolve) => server.close(resolve));
    match(await run("rebalance"), /^1 skep swarm: cannot reach the daemon/);
    server.listen(join(folder, "sock"));
  });
});
