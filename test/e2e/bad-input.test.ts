/**
 * What a cluster gets sent by mistake or by malice: wrong tokens, foreign certificates, calls without the right, sizes
 * beyond every limit, no JSON, and clients that say nothing. Each has to be refused with Docker's text where Docker has
 * one, and all daemons of the cluster have to be the same processes afterwards. With every client of this machine.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { dockerClients } from "../support/docker.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

const probe = fileURLToPath(new URL("../support/rpc-probe.js", import.meta.url));

describe("bad input to a swarm", function () {
  this.timeout(300_000);
  let lab: SwarmLab;
  let daemons: (number | undefined)[];

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-input", ["m1", "m2", "w1", "f1", "f2"]);
    await lab.form(["m1", "m2"], ["w1"]);
    await lab.form(["f1"], ["f2"]);
    daemons = pids();
  });

  afterEach(() => deepEqual(pids(), daemons, "a daemon has ended"));

  after(() => lab?.down());

  for (const client of dockerClients()) {
    describe(`by ${client.path}`, () => {
      it("refuses tokens that are none, of another cluster, or with a wrong secret", async () => {
        lab.client = client;
        await lab.try("f2", ["swarm", "leave"]);
        const join = (token: string) => ["swarm", "join", "--token", token, lab.remote("m1")];
        await lab.refused("f2", join("nonsense"), /invalid join token/);
        await lab.refused("f2", join("SWMTKN-1-abc-def"), /invalid join token/);
        await lab.refused(
          "f2",
          join(await lab.token("f1", "worker")),
          /remote CA does not match fingerprint/,
        );
        const [kind, version, digest] = (await lab.token("m1", "worker")).split("-");
        const guessed = `${kind}-${version}-${digest}-${"1".repeat(25)}`;
        await lab.refused(
          "f2",
          join(guessed),
          /A valid join token is necessary to join this cluster/,
        );
        equal(await lab.info("f2", ".Swarm.LocalNodeState"), "inactive");
        await lab.docker("f2", [
          "swarm",
          "join",
          "--token",
          await lab.token("f1", "worker"),
          lab.remote("f1"),
        ]);
      });

      it("refuses a second init and a join of a node that is in", async () => {
        const token = await lab.token("m1", "worker");
        for (const node of ["m2", "w1"]) {
          await lab.refused(node, ["swarm", "init"], /This node is already part of a swarm/);
          const words = ["swarm", "join", "--token", token, lab.remote("m1")];
          await lab.refused(node, words, /This node is already part of a swarm/);
        }
        await lab.refused("w1", ["swarm", "init", "--force-new-cluster"], /not a swarm manager/);
      });

      it("refuses names, labels and payloads beyond the limits, and takes those at the limit", async () => {
        const long = "n".repeat(65);
        await lab.refused("m2", ["secret", "create", long, "-"], /name/i, "x");
        await lab.refused("m1", ["config", "create", long, "-"], /name/i, "x");
        await lab.refused(
          "m2",
          ["service", "create", "--detach", "--name", long, "nginx"],
          /name/i,
        );
        await lab.refused("m1", ["secret", "create", "bad/name", "-"], /name/i, "x");
        await lab.refused(
          "m2",
          ["secret", "create", "empty", "-"],
          /secret data must be larger than 0 and less than 512000 bytes|data is empty/,
          "",
        );
        await lab.refused(
          "m2",
          ["secret", "create", "large", "-"],
          /secret data must be larger than 0 and less than 512000 bytes/,
          new Uint8Array(512_000),
        );
        await lab.refused(
          "m1",
          ["config", "create", "large", "-"],
          /config data must be larger than 0 and less than 1024000 bytes/,
          new Uint8Array(1_024_000),
        );
        await lab.docker("m2", ["secret", "create", "full", "-"], new Uint8Array(511_999));
        await lab.docker("m1", ["config", "create", "full", "-"], new Uint8Array(1_023_999));
        await lab.refused(
          "m1",
          ["secret", "create", "full", "-"],
          /AlreadyExists desc = .*full/,
          "x",
        );
        await lab.docker("m1", ["secret", "rm", "full"]);
        await lab.docker("m2", ["config", "rm", "full"]);
        const label = `big=${"v".repeat(100_000)}`;
        await lab.docker("m1", ["node", "update", "--label-add", label, "w1"]);
        await lab.docker("m2", ["node", "update", "--label-rm", "big", "w1"]);
        await lab.docker("m1", ["secret", "create", "--label", label, "labelled", "-"], "x");
        await lab.docker("m1", ["secret", "rm", "labelled"]);
      });

      it("refuses wrong values of the swarm's and nodes' settings", async () => {
        await lab.refused("m1", ["swarm", "update", "--cert-expiry", "1m"], /expiry|expire/i);
        await lab.refused(
          "m1",
          ["node", "update", "--availability", "gone", "w1"],
          /availability/i,
        );
        await lab.refused("m1", ["node", "update", "--role", "king", "w1"], /role/i);
        await lab.refused("f2", ["swarm", "update", "--autolock=true"], /not a swarm manager/);
        await lab.refused(
          "m1",
          ["network", "create", "-d", "overlay", "--subnet", "10.0.0.0/99", "bad"],
          /./,
        );
      });
    });
  }

  it("refuses calls of other clusters, of workers and of nobody", async () => {
    const create = "/skep.v1.ControlRelay/Relay";
    const w1 = lab.data("w1", "node");
    match(
      await called("w1", w1, create),
      /^7 this call is for nodes with the role manager; node [0-9a-z]{25} is a worker/,
    );
    match(await called("w1", w1, "/skep.v1.RaftMembership/Join"), /^7 /);
    match(await called("w1", w1, "/skep.v1.NodeCa/GetUnlockKey"), /^7 /);
    match(await called("f2", lab.data("f2", "node"), create), /^(7|14|16) /);
    match(await called("f2", "-", create), /^(7|16) /);
    match(await called("w1", w1, "/skep.v1.Nothing/There"), /^12 /);
    match(await called("w1", w1, create, 9_000_000), /^(7|8) /);
    match(
      await called("f2", "-", "/skep.v1.NodeCa/IssueNodeCertificate", 100_000),
      /^(3|7|13|16) /,
    );
  });

  it("answers malformed, mistyped and oversized bodies with what is wrong", async () => {
    const { socket } = lab.playground.node("m2");
    const post = (path: string, body: string) => posted(socket, path, body);
    const malformed = await post("/secrets/create", '{"Name": "x", ');
    equal(malformed.status, 400);
    const mistyped = await post("/secrets/create", '{"Name": ["x"], "Data": 7}');
    equal(mistyped.status, 400);
    match(mistyped.body, /Name/);
    equal((await post("/swarm/init", "null")).status < 500, true);
    equal((await post("/nodes/zz/update?version=nonsense", "{}")).status, 400);
    const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
    equal((await post("/services/create", deep)).status, 400);
    const vast = JSON.stringify({ Name: "vast", Data: "A".repeat(5_000_000) });
    match(`${(await post("/secrets/create", vast)).status}`, /^4/);
  });

  it("cuts clients that say nothing, on the socket and on 2377, and serves the others meanwhile", async () => {
    const { socket } = lab.playground.node("m1");
    const silent: Socket[] = Array.from({ length: 100 }, () => connect(socket));
    for (const one of silent) one.on("error", () => {}).resume();
    const script = `const net = require("net"); let open = 200;
      for (let i = 0; i < 200; i++) net.connect(2377, "${lab.playground.node("m1").address}").on("error", () => {})
        .on("close", () => { if (--open === 0) { console.log("all cut"); process.exit(); } }).resume();
      setTimeout(() => { console.log(open + " still open"); process.exit(); }, 50000);`;
    const outside = lab.playground.exec("w1", [process.execPath, "-e", script]);
    await lab.docker("m1", ["secret", "create", "meanwhile", "-"], "x");
    await lab.docker("m2", ["secret", "rm", "meanwhile"]);
    equal((await outside).stdout.trim(), "all cut");
    await until(() => silent.every((one) => one.destroyed), {
      withinMs: 60_000,
      what: "all are cut",
    });
    await lab.settles("m2", ["m1 Ready Manager", "m2 Ready Manager", "w1 Ready"]);
  });

  it("goes on joining in the background when the manager does not answer, until told to leave", async () => {
    await lab.docker("f2", ["swarm", "leave"]);
    const token = await lab.token("f1", "worker");
    const words = ["swarm", "join", "--token", token, "10.77.0.250:2377"];
    await lab.refused(
      "f2",
      words,
      /Timeout was reached before node joined\. The attempt to join the swarm will continue in the background/,
    );
    equal(await lab.info("f2", ".Swarm.LocalNodeState"), "pending");
    await lab.docker("f2", ["swarm", "leave", "--force"]);
    equal(await lab.info("f2", ".Swarm.LocalNodeState"), "inactive");
    equal(await lab.info("f2", ".Swarm.Error"), "");
  });

  function pids(): (number | undefined)[] {
    return lab.playground.nodes().map((node) => node.daemonPid);
  }

  /** Status code and text of a call from `from` to m1, with the credentials in `folder`. */
  async function called(from: string, folder: string, method: string, bytes = 0): Promise<string> {
    const words = [process.execPath, probe, folder, lab.remote("m1"), method, `${bytes}`];
    const { stdout, stderr } = await lab.playground.exec(from, words);
    return stdout === "" ? stderr : stdout;
  }
});

function posted(
  socketPath: string,
  path: string,
  body: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
    };
    const sent = request({ socketPath, path, method: "POST", headers }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    sent.once("error", reject);
    sent.end(body);
  });
}
