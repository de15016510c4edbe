/**
 * What `npm run demo` shows: three managers and two workers in a playground, one of them taken for a 32-bit Raspberry Pi,
 * with a registry beside them, driven by the stock docker command only: services that run and come back, then services that
 * talk by name and are called from outside.
 *
 * Every command is printed before it runs, with its output below. Ends with exit code 1 when one of them fails, and takes
 * the playground down in any case, also after an interruption.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { address6Of, labAddress } from "../build/src/playground/lab.js";
import { Playground } from "../build/src/playground/playground.js";
import { dockerClients } from "../build/test/support/docker.js";
import { OutsideClient } from "../build/test/support/outside.js";
import { pushTestImagesTo, startRegistry } from "../build/test/support/registry.js";

const managers = ["m1", "m2", "m3"];
const workers = ["w1", "w2"];
/** The last client in the list is the one on the PATH, which a user would take. */
const client = dockerClients().at(-1)?.path ?? "docker";
const folder = mkdtempSync(join(tmpdir(), "skep-demo-"));
const pi = "w2";
const lab = Playground.create({
  dir: join(folder, "lab"),
  nodes: [...managers, ...workers],
  platforms: { [pi]: "linux/arm/v7" },
});

let registry;
let ending;
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end(130));

try {
  await show();
  await end(0);
} catch (error) {
  if (ending === undefined) console.error(`\nThe demo failed: ${error.message}`);
  await end(1);
}

/** Removes everything once, whoever asks first, and exits. */
async function end(code) {
  ending ??= (async () => {
    say("Everything is removed again");
    await registry?.stop();
    await lab.down();
    rmSync(folder, { recursive: true, force: true });
    process.exit(code);
  })();
  await ending;
}

async function show() {
  say("Five hosts boot on this machine, each with its own network, processes and daemon");
  await lab.up();
  for (const node of lab.nodes()) console.log(`  ${node.name}  ${node.address}  ${node.socket}`);

  say(`The stock client (${client}) makes them a cluster of three managers and two workers`);
  const first = lab.node("m1").address;
  await docker("m1", ["swarm", "init", "--advertise-addr", first]);
  for (const name of [...managers.slice(1), ...workers]) {
    const role = managers.includes(name) ? "manager" : "worker";
    const token = (await docker("m1", ["swarm", "join-token", "-q", role], { quiet: true })).trim();
    const own = lab.node(name).address;
    await docker(name, [
      "swarm",
      "join",
      "--advertise-addr",
      own,
      "--token",
      token,
      `${first}:2377`,
    ]);
  }
  await allReady("m1");
  await docker("m1", ["node", "ls"]);

  say("A secret is stored, replicated to the managers and encrypted on their disks");
  await docker("m2", ["secret", "create", "launch-code", "-"], { input: "0000" });

  say(
    "A registry starts beside the nodes and gets an image for amd64, arm64 and 32-bit arm under one name",
  );
  registry = await startRegistry({ host: labAddress, port: 5000, networkOf: lab.labPid() });
  await registry.pushTestImages();
  const image = `${registry.address}/web:1`;
  console.log(`  ${image}`);

  say("Four copies of it run, each on a node that can run it; the managers are kept free");
  for (const name of managers) {
    await docker("m1", ["node", "update", "--availability", "drain", name], { quiet: true });
  }
  await docker("m1", ["service", "create", "--detach", "--name", "web", "--replicas", "4", image]);
  await running("m1", "web", 4);
  await docker("m1", ["service", "ps", "web"]);

  say("Each says of itself on which machine it runs: the Raspberry Pi's copies are 32-bit arm");
  for (const { name, node } of await tasks("m1", "web")) {
    console.log(`  on ${node}:`);
    await docker("m2", ["exec", name, "uname", "-m"]);
  }
  await docker("m3", ["service", "logs", "web"]);

  say(`The power of ${pi} is cut: its copies move to ${workers[0]}`);
  await lab.killNode(pi);
  const cut = performance.now();
  await until(60_000, "all copies run elsewhere", async () => {
    const found = await tasks("m1", "web");
    return found.length === 4 && found.every(({ node }) => node !== pi);
  });
  console.log(`  after ${((performance.now() - cut) / 1000).toFixed(1)} s`);
  await docker("m1", ["service", "ps", "--filter", "desired-state=running", "web"]);

  say("It comes back; two more copies are asked for, and it takes them");
  await lab.startNode(pi);
  await allReady("m1");
  await docker("m1", ["service", "scale", "--detach", "web=6"]);
  await running("m1", "web", 6);
  await docker("m1", ["node", "ps", "--filter", "desired-state=running", pi]);

  const leader = await leaderName("m1");
  const other = managers.find((name) => name !== leader);
  say(`The power of ${leader}, the leader, is cut`);
  await lab.killNode(leader);
  const start = performance.now();
  await until(30_000, `${other} takes a write`, async () => {
    const made = await lab.docker(other, ["config", "create", "after", "-"], {
      client,
      input: "x",
    });
    // An attempt whose answer was lost may have been carried out.
    return made.code === 0 || made.stderr.includes("already exists");
  });
  console.log(`  writes are taken again after ${Math.round(performance.now() - start)} ms`);
  await docker(other, ["service", "ls"]);
  await docker(other, ["node", "ls"]);

  say(`${leader} comes back, and the service is removed`);
  await lab.startNode(leader);
  await allReady(leader);
  await docker(leader, ["service", "rm", "web"]);
  await until(60_000, "no container is left", async () => {
    const left = await Promise.all(
      workers.map((name) => docker(name, ["ps", "-aq"], { quiet: true })),
    );
    return left.every((list) => list.trim() === "");
  });
  await docker(leader, ["node", "ls"]);
  await showNetworks();
}

/** Two services that talk by name, one of them published: from outside, through every node, with the caller's address. */
async function showNetworks() {
  say("An overlay network; one service in it answers on port 8080 of every node who calls it");
  await pushTestImagesTo(registry.address, { networkOf: lab.labPid(), also: "echo" });
  for (const name of managers) {
    await docker("m1", ["node", "update", "--availability", "active", name], { quiet: true });
  }
  const create = ["service", "create", "--detach", "--network", "hive"];
  await docker("m1", ["network", "create", "--driver", "overlay", "hive"]);
  const ports = ["--publish", "8080:80", "--publish", "8080:80/udp"];
  const echo = `${registry.address}/echo:1`;
  await docker("m1", [...create, "--name", "who", "--replicas", "2", ...ports, echo]);
  await running("m1", "who", 2);

  say("Another one asks it by its name");
  const ask =
    "while sleep 1; do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 who 80 | tail -n 1; done";
  const asks = [...create, "--name", "asks", `${registry.address}/busybox:1`, "sh", "-c", ask];
  await docker("m1", asks);
  await running("m1", "asks", 1);
  await until(30_000, "the service was asked", async () => {
    return (await docker("m1", ["service", "logs", "asks"], { quiet: true })).includes(" 10.");
  });
  await docker("m1", ["service", "logs", "--tail", "3", "asks"]);

  const outside = { labPid: lab.labPid(), name: "outside", address: "10.77.0.101" };
  const caller = await OutsideClient.start(outside);
  try {
    say(`A machine outside, ${caller.address} and ${caller.address6}, calls every node`);
    for (const { name, address } of lab.nodes()) {
      for (const host of [address, address6Of(address)]) {
        for (const protocol of ["tcp", "udp"]) {
          const seen = await caller.call({ protocol, host, port: 8080 });
          console.log(
            `  ${name}  ${protocol} ${host.padEnd(10)}  answered by ${seen.server}, which saw ${seen.address}`,
          );
          const own = host.includes(":") ? caller.address6 : caller.address;
          if (seen.address !== own) throw new Error(`${seen.address} is not ${own}`);
        }
      }
    }
  } finally {
    await caller.stop();
  }
  await docker("m1", ["service", "rm", "who", "asks"]);
  await until(60_000, "the network can go", async () => {
    const removed = await lab.docker("m1", ["network", "rm", "hive"], { client });
    return removed.code === 0;
  });
  await docker("m1", ["network", "ls"]);
}

/** Resolves when as many tasks of a service run. */
async function running(name, service, count) {
  await until(120_000, `${service} runs ${count} times`, async () => {
    return (await tasks(name, service)).length === count;
  });
}

/** Container names and nodes of the tasks of a service that run. */
async function tasks(name, service) {
  const format = "{{.Name}}.{{.ID}} {{.Node}} {{.CurrentState}}";
  const args = ["service", "ps", "--no-trunc", "--filter", "desired-state=running"];
  const { stdout } = await lab.docker(name, [...args, "--format", format, service], { client });
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , state]) => state === "Running")
    .map(([task, node]) => ({ name: task, node }));
}

async function allReady(name) {
  await until(60_000, "every node is ready", async () => {
    const { stdout } = await lab.docker(name, ["node", "ls", "--format", "{{.Status}}"], {
      client,
    });
    const states = stdout.trim().split("\n");
    return states.length === lab.nodes().length && states.every((state) => state === "Ready");
  });
}

async function leaderName(name) {
  const format = "{{.Hostname}} {{.ManagerStatus}}";
  const { stdout } = await lab.docker(name, ["node", "ls", "--format", format], { client });
  const line = stdout.split("\n").find((candidate) => candidate.endsWith(" Leader"));
  if (line === undefined) throw new Error(`no leader in: ${stdout}`);
  return line.split(" ")[0];
}

/** Runs docker against a node, shows command and output, and fails when the command fails. */
async function docker(name, args, options = {}) {
  const shown = args.map((word) => (word.startsWith("SWMTKN") ? "SWMTKN-..." : word)).join(" ");
  const input = options.input === undefined ? "" : `printf ${options.input} | `;
  if (options.quiet !== true) console.log(`  ${name}$ ${input}docker ${shown}`);
  const result = await lab.docker(name, args, { client, input: options.input ?? "" });
  if (result.code !== 0) throw new Error(`${name}: docker ${shown}: ${result.stderr.trim()}`);
  if (options.quiet !== true) console.log(result.stdout.trimEnd().replace(/^/gm, "    "));
  return result.stdout;
}

async function until(withinMs, what, condition) {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function say(text) {
  console.log(`\n== ${text}`);
}
