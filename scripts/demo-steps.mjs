/**
 * The steps of the demo, in their order: each does something to the cluster and proves what came of it, or throws. All of
 * them work on one `Stage`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { shopCallMs, shopDoors, shopPassword, visitShop } from "../build/test/support/shop.js";
import { managers, nodes, platforms } from "./demo-stage.mjs";

/** Kinds of machines, as their kernels say it and as node labels have it. */
const machines = { linux: "x86_64", "linux/arm64": "aarch64", "linux/arm/v7": "armv7l" };

export const steps = {
  "Five hosts boot on this machine, each with its own network, processes and daemon": boot,
  "The stock docker client makes them a cluster of three managers and two workers": form,
  "A registry gets one image for amd64, arm64 and 32-bit arm": fill,
  "docker stack deploy: the shop of examples/shop runs on all three kinds of machines": deploy,
  "skep stack deploy: our own client finds nothing to change": deployAgain,
  "Another page and another release, under calls from outside": update,
  "A release that does not start takes itself back, under calls from outside": breakIt,
  "The power of a worker is cut": loseWorker,
  "The power of the leader is cut": loseLeader,
  "The stack is removed": remove,
};

async function boot(stage) {
  await stage.lab.up();
  for (const { name, address, socket } of stage.lab.nodes())
    stage.say(`${name}  ${address}  ${platforms[name] ?? "as it is"}  ${socket}`);
  const names = await Promise.all(
    nodes.map((name) => stage.ask(name, ["info", "--format", "{{.Name}}"])),
  );
  stage.prove("five daemons answer", names.join() === nodes.join(), names.join());
}

async function form(stage) {
  const first = stage.lab.node("m1").address;
  await stage.docker("m1", ["swarm", "init", "--advertise-addr", first]);
  for (const name of nodes.slice(1)) {
    const role = managers.includes(name) ? "manager" : "worker";
    const token = await stage.ask("m1", ["swarm", "join-token", "-q", role]);
    // A busy machine may need longer than the command waits: it goes on in the background then, and is waited for below.
    const join = ["swarm", "join", "--token", token, `${first}:2377`];
    await stage.docker(name, join, { allowed: /will continue in the background/ });
  }
  await allReady(stage, "m1");
  for (const name of nodes) {
    const label = `machine=${machineOf(name)}`;
    await stage.docker("m1", ["node", "update", "--label-add", label, name], { quiet: true });
  }
  await stage.docker("m1", ["node", "ls"]);
  const platform = "{{.Description.Platform.Architecture}}";
  const found = await stage.ask("m1", ["node", "inspect", "--format", platform, ...nodes]);
  const kinds = [...new Set(found.split("\n"))].sort().join(", ");
  stage.prove(`the nodes are of ${kinds}`, kinds === "aarch64, armv7l, x86_64", kinds);
  const roles = await stage.ask("m3", ["node", "ls", "--format", "{{.ManagerStatus}}"]);
  const isWhole = roles.split("\n").sort().join("") === "LeaderReachableReachable";
  stage.prove("three of five nodes are managers, one of them the leader", isWhole, roles);
}

async function fill(stage) {
  stage.image = await stage.startRegistry();
  await stage.startCaller();
  stage.variables = { SHOP_IMAGE: `${stage.image}:1`, SHOP_DB_IMAGE: `${stage.image}:1` };
  for (const [name, value] of Object.entries(stage.variables)) stage.say(`${name}=${value}`);
  stage.prove("the images are in the registry", true);
}

async function deploy(stage) {
  await stage.docker("m1", ["stack", "deploy", "-c", fileOf(stage), "shop"]);
  const web = await running(stage, "m1", "shop_web", 3);
  const [db] = await running(stage, "m1", "shop_db", 1);
  await stage.docker("m1", ["stack", "services", "shop"]);
  await stage.docker("m1", ["stack", "ps", "shop"]);
  const kinds = web.map(({ node }) => machineOf(node)).sort();
  stage.prove(`three web servers run on ${kinds.join(", ")}`, isEveryKind(kinds));
  stage.prove(`the database runs on ${db.node}, a manager`, managers.includes(db.node));
  stage.db = db;

  const { caller } = stage;
  stage.say(`A machine outside, ${caller.address} and ${caller.address6}, calls every node`);
  await answering(stage, ({ visits }) => visits !== undefined);
  const pages = await visitAll(stage);
  stage.say(`http://${pages[0].door}:8080/ answers`);
  const [page] = pages;
  stage.say(`${page.title}, release ${page.release}, by ${page.replica} on ${page.node}`, "    ");
  const isTrue = ({ door, caller: seen }) =>
    seen === (door.includes(":") ? caller.address6 : caller.address);
  stage.prove("each node answers over IPv4 and IPv6, and knows its caller", pages.every(isTrue));
  const answered = [...new Set(pages.map(({ machine }) => machine))].sort();
  stage.prove(`the replicas on ${answered.join(", ")} have answered`, isEveryKind(answered));
  const counts = pages.map(({ visits }) => visits);
  const isCounted = counts.every((count, i) => i === 0 || count > counts[i - 1]);
  stage.prove(`the database has counted ${counts.at(-1)} visits`, isCounted, counts.join());
  await proveSecret(stage, web);
}

/** The password is where the task is that needs it, and in no record that the client can read. */
async function proveSecret(stage, [task]) {
  const password = shopPassword(stage.shop);
  const read = await stage.ask("m1", ["exec", task.container, "cat", "/run/secrets/password"]);
  const told = await stage.ask("m1", ["inspect", task.container]);
  const isKept = read === password && !told.includes(password);
  stage.prove("a web server reads the secret, which no inspect shows", isKept);
}

async function deployAgain(stage) {
  const before = await allTasks(stage);
  await stage.skep("m2", ["stack", "plan", "-c", fileOf(stage), "shop"]);
  await stage.skep("m2", ["stack", "deploy", "--detach=false", "-c", fileOf(stage), "shop"]);
  const after = await allTasks(stage);
  stage.prove("the plan has no change, and every task is the one it was", before === after);
}

async function update(stage) {
  await rename(stage, "The second shop");
  stage.variables.SHOP_IMAGE = `${stage.image}:2`;
  // Exit code 3 of a plan: there is something to change.
  await stage.skep("m1", ["stack", "plan", "-c", fileOf(stage), "shop"], { codes: [3] });
  const status = await underCalls(stage, () => rolledOut(stage));
  stage.prove(`docker says "${status.Message}"`, status.State === "completed", status.Message);
  const pages = await visitAll(stage);
  const isNew = pages.every((page) => isPage(page, "The second shop", 2));
  stage.prove("all three replicas answer with the second page and release", isNew);
  const [db] = await running(stage, "m1", "shop_db", 1);
  stage.prove("the database was not touched", db.container === stage.db.container);
}

async function breakIt(stage) {
  await rename(stage, "The third shop");
  stage.variables.SHOP_IMAGE = `${stage.image}:3`;
  const status = await underCalls(stage, () => rolledOut(stage));
  const failed = await stage.ask("m1", ["service", "ps", "--format", "{{.Error}}", "shop_web"]);
  stage.say(`docker service ps: ${failed.split("\n").find((line) => line !== "")}`);
  const isBack = status.State === "rollback_completed";
  stage.prove(`docker says "${status.Message}"`, isBack, status.State);
  await running(stage, "m1", "shop_web", 3);
  const pages = await visitAll(stage);
  const isOld = pages.every((page) => isPage(page, "The second shop", 2));
  stage.prove("all three replicas answer with the second page and release again", isOld);
  await stage.skep("m1", ["service", "history", "shop_web"]);
}

async function loseWorker(stage) {
  const victim = "w2";
  await stage.lab.killNode(victim);
  const cut = performance.now();
  stage.say(`${victim} is off`);
  await stage.until("all replicas run elsewhere", async () => {
    const web = await tasksOf(stage, "m1", "shop_web");
    const isFine = ({ node, state }) => node !== victim && state === "Running";
    return web.length === 3 && web.every(isFine);
  });
  const seconds = ((performance.now() - cut) / 1000).toFixed(1);
  await stage.docker("m1", ["service", "ps", "-f", "desired-state=running", "shop_web"]);
  const pages = await visitAll(stage);
  stage.prove(`three replicas run elsewhere after ${seconds} s`, true);
  const doors = new Set(pages.map(({ door }) => door));
  stage.prove("every other node answers", doors.size === 2 * (nodes.length - 1));

  stage.say(`${victim} comes back`);
  await stage.lab.startNode(victim);
  await allReady(stage, "m1");
  await stage.until(`nothing of the shop runs on ${victim}`, async () => {
    return (await stage.ask(victim, ["ps", "-q"])) === "";
  });
  stage.prove(
    `${victim} is ready again, and its old container does not run beside the new one`,
    true,
  );
}

async function loseLeader(stage) {
  const leader = await leaderOf(stage, "m1");
  const other = managers.find((name) => name !== leader);
  const [last] = (await visitAll(stage)).slice(-1);
  await stage.lab.killNode(leader);
  const cut = performance.now();
  stage.say(`${leader} is off`);
  await stage.until(`${other} takes a write`, () =>
    stage.works(other, ["service", "update", "--detach", "--label-add", "after=it", "shop_web"]),
  );
  const ms = Math.round(performance.now() - cut);
  const next = await leaderOf(stage, other);
  stage.prove(`${next} leads, and writes are taken again after ${ms} ms`, next !== leader);
  await stage.docker(other, ["node", "ls"]);
  await answering(stage);
  stage.prove("every node that is left answers", true);

  stage.say(`${leader} comes back`);
  await stage.lab.startNode(leader);
  await allReady(stage, leader);
  await running(stage, leader, "shop_web", 3);
  const [db] = await running(stage, leader, "shop_db", 1);
  stage.prove(`the database runs on ${db.node}, where its volume is`, db.node === stage.db.node);
  const pages = await answering(stage, ({ visits }) => visits !== undefined);
  const isKept = pages.every(
    (page) => isPage(page, "The second shop", 2) && page.visits > last.visits,
  );
  stage.prove(`every node answers, and the count of ${last.visits} visits goes on`, isKept);
  await stage.docker(leader, ["stack", "ps", "-f", "desired-state=running", "shop"]);
}

async function remove(stage) {
  await stage.skep("m1", ["stack", "rm", "shop"]);
  await stage.until("no container is left", async () => {
    const left = await Promise.all(nodes.map((name) => stage.ask(name, ["ps", "-aq"])));
    return left.every((list) => list === "");
  });
  const lists = ["service", "secret", "config"].map((kind) => stage.ask("m2", [kind, "ls", "-q"]));
  const left = (await Promise.all(lists)).join("");
  stage.prove("no container, service, secret or config is left", left === "", left);
  const volumes = await stage.ask(stage.db.node, ["volume", "ls", "-q"]);
  stage.prove(`the volume is kept on ${stage.db.node}`, volumes.includes("shop_ledger"), volumes);
  await stage.docker(stage.db.node, ["volume", "rm", "shop_ledger"]);
}

function fileOf(stage) {
  return join(stage.shop, "compose.yaml");
}

function machineOf(node) {
  return machines[platforms[node] ?? "linux"];
}

function isEveryKind(found) {
  return found.join() === Object.values(machines).sort().join();
}

function isPage(page, title, release) {
  return page.title === title && page.release === release;
}

/** Gives the page another title, as an editor would. */
async function rename(stage, title) {
  const path = join(stage.shop, "page.cgi");
  const text = readFileSync(path, "utf8").replace(/^title=.*$/m, `title="${title}"`);
  writeFileSync(path, text);
  stage.say(`page.cgi: title="${title}"`);
}

/** Deploys and waits until the update of the web servers has come to an end; resolves with its status. */
async function rolledOut(stage) {
  const status = async () => {
    const format = "{{json .UpdateStatus}}";
    return JSON.parse(
      await stage.ask("m1", ["service", "inspect", "--format", format, "shop_web"]),
    );
  };
  const before = (await status())?.StartedAt;
  await stage.docker("m1", ["stack", "deploy", "-c", fileOf(stage), "shop"]);
  return stage.until("the update is over", async () => {
    const now = await status();
    const isOver = /^(completed|paused|rollback_completed|rollback_paused)$/.test(now?.State ?? "");
    return isOver && now.StartedAt !== before && now;
  });
}

/** Calls every node again and again while something is done, and proves that each call was answered. */
async function underCalls(stage, act) {
  const doors = shopDoors(stage.lab.nodes());
  const targets = doors.map((host) => ({ protocol: "tcp", host, port: 8080 }));
  const load = await stage.caller.begin(targets, 4, 4, { withinMs: shopCallMs });
  let tally;
  let result;
  try {
    result = await act();
  } finally {
    tally = await load.stop();
  }
  const { calls, failures } = tally;
  stage.prove(`${calls} calls meanwhile, 0 failed`, failures.length === 0, failures[0]);
  return result;
}

/** Calls every node that is on, over both families, until each replica has answered; in the order of the calls. */
async function visitAll(stage) {
  const doors = shopDoors(stage.lab.nodes());
  const pages = [];
  for (const door of doors) pages.push({ door, ...(await visitShop(stage.caller, door)) });
  const replicas = new Set(pages.map(({ replica }) => replica));
  await stage.until("each of three replicas has answered", async () => {
    if (replicas.size === 3) return true;
    const page = await visitShop(stage.caller, doors[0]);
    replicas.add(page.replica);
    pages.push({ door: doors[0], ...page });
    return false;
  });
  return pages;
}

/** Calls every node that is on until all have answered in one round, as they should. */
async function answering(stage, isRight = () => true) {
  let pages;
  await stage.until("every node answers", async () => {
    const doors = shopDoors(stage.lab.nodes());
    pages = [];
    for (const door of doors) pages.push(await visitShop(stage.caller, door));
    return pages.every(isRight);
  });
  return pages;
}

/** Waits until as many tasks of a service run, and no other is wanted; resolves with them. */
async function running(stage, on, service, count) {
  return stage.until(`${service} runs ${count} times`, async () => {
    const tasks = await tasksOf(stage, on, service);
    return tasks.length === count && tasks.every(({ state }) => state === "Running") && tasks;
  });
}

/** Container names, nodes and states of the tasks of a service that are to run. */
async function tasksOf(stage, on, service) {
  const format = "{{.Name}}.{{.ID}} {{.Node}} {{.CurrentState}}";
  const words = ["service", "ps", "--no-trunc", "-f", "desired-state=running"];
  const text = await stage.ask(on, [...words, "--format", format, service]);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" "))
    .map(([container, node, state]) => ({ container, node, state }));
}

async function allTasks(stage) {
  const lists = ["shop_web", "shop_db"].map((service) => tasksOf(stage, "m1", service));
  return (await Promise.all(lists))
    .flat()
    .map(({ container, state }) => `${container} ${state}`)
    .sort()
    .join();
}

async function allReady(stage, on) {
  await stage.until("every node is ready", async () => {
    const states = (await stage.ask(on, ["node", "ls", "--format", "{{.Status}}"])).split("\n");
    return states.length === nodes.length && states.every((state) => state === "Ready");
  });
}

async function leaderOf(stage, on) {
  return stage.until("there is a leader", async () => {
    const format = "{{.Hostname}} {{.ManagerStatus}}";
    const list = await stage.ask(on, ["node", "ls", "--format", format]);
    return list
      .split("\n")
      .find((line) => line.endsWith(" Leader"))
      ?.split(" ")[0];
  });
}
