/**
 * Three managers and two workers formed, changed and taken apart by the stock docker command alone (acceptance A4), with
 * every client of this machine. The steps build on each other: a failure makes the later ones of the same client fail.
 */
import { equal, match, notEqual, ok } from "node:assert/strict";
import { dockerClients } from "../support/docker.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

const managers = ["m1", "m2", "m3"];
const workers = ["w1", "w2"];
const wholeSwarm = [...managers.map((name) => `${name} Ready Manager`), "w1 Ready", "w2 Ready"];
const alreadyIn =
  /This node is already part of a swarm\. Use "docker swarm leave" to leave this swarm/;
const notManager = /This node is not a swarm manager\./;
const workerText = /Worker nodes can't be used to view or modify cluster state/;
const leaveText =
  /You are attempting to leave the swarm on a node that is participating as a manager/;

describe("swarm of 3 managers and 2 workers", function () {
  this.timeout(300_000);
  let lab: SwarmLab;

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-swarm", [...managers, ...workers]);
  });

  after(() => lab?.down());

  for (const client of dockerClients()) {
    describe(`by ${client.path}`, () => {
      it("tells a node that is in no swarm from others", async () => {
        lab.client = client;
        await lab.disband();
        equal(await lab.info("m1", ".Swarm.LocalNodeState"), "inactive");
        await lab.refused("m1", ["node", "ls"], notManager);
        await lab.refused("m1", ["swarm", "leave"], /This node is not part of a swarm/);
        await lab.refused("m1", ["swarm", "unlock-key"], notManager);
        await lab.refused("m1", ["secret", "ls"], notManager);
      });

      it("makes a swarm with init, once", async () => {
        const address = lab.playground.node("m1").address;
        const said = await lab.docker("m1", ["swarm", "init", "--advertise-addr", address]);
        match(said, /Swarm initialized: current node \([0-9a-z]{25}\) is now a manager\./);
        match(
          said,
          new RegExp(
            `docker swarm join --token SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25} ${address}:2377`,
          ),
        );
        await lab.refused("m1", ["swarm", "init"], alreadyIn);
        equal(await lab.info("m1", ".Swarm.LocalNodeState"), "active");
        equal(await lab.info("m1", ".Swarm.ControlAvailable"), "true");
        equal(await lab.info("m1", ".Swarm.NodeAddr"), address);
        match(
          await lab.docker("m1", ["info"]),
          /Is Manager: true[\s\S]*Managers: 1[\s\S]*Nodes: 1/,
        );
      });

      it("lets managers and workers join with the tokens, through any manager", async () => {
        const manager = await lab.token("m1", "manager");
        for (const [node, by] of [
          ["m2", "m1"],
          ["m3", "m2"],
        ] as const) {
          const said = await lab.docker(node, [
            "swarm",
            "join",
            "--token",
            manager,
            lab.remote(by),
          ]);
          equal(said, "This node joined a swarm as a manager.");
        }
        const worker = await lab.token("m3", "worker");
        notEqual(worker, manager);
        for (const [node, by] of [
          ["w1", "m2"],
          ["w2", "m3"],
        ] as const) {
          const said = await lab.docker(node, ["swarm", "join", "--token", worker, lab.remote(by)]);
          equal(said, "This node joined a swarm as a worker.");
        }
        for (const name of managers) await lab.settles(name, wholeSwarm);
        await lab.refused("w1", ["swarm", "join", "--token", worker, lab.remote("m1")], alreadyIn);
        await lab.refused("m2", ["swarm", "join", "--token", manager, lab.remote("m1")], alreadyIn);
      });

      it("shows nodes in ls, inspect and ps, on leader and followers alike", async () => {
        const listed = async (name: string) => JSON.stringify(sorted(await lab.nodes(name)));
        // The lead may pass on while one after the other is asked.
        await until(
          async () => {
            const [first, ...others] = [await listed("m1"), await listed("m2"), await listed("m3")];
            return others.every((rows) => rows === first);
          },
          { withinMs: 60_000, what: "all managers list the same" },
        );
        for (const from of managers) {
          const text = await lab.docker(from, ["node", "inspect", "w1", "m2"]);
          const [worker, manager] = JSON.parse(text) as NodeJson[];
          equal(worker?.Spec.Role, "worker");
          equal(worker?.Description.Hostname, "w1");
          equal(worker?.Status.Addr, lab.playground.node("w1").address);
          equal(worker?.ManagerStatus, undefined);
          equal(manager?.ManagerStatus?.Addr, lab.remote("m2"));
          equal(manager?.ManagerStatus?.Reachability, "reachable");
          match(
            await lab.docker(from, ["node", "inspect", "--pretty", "self"]),
            new RegExp(`Hostname:\\s+${from}\\b`),
          );
          match(await lab.docker(from, ["node", "ps", "w1"]), /^ID\s+NAME/);
          await lab.docker(from, ["node", "ps"]);
        }
        equal(await names("m2", "role=worker"), "w1 w2");
        equal(await names("m3", "name=m"), "m1 m2 m3");
        await lab.refused("w1", ["node", "ls"], workerText);
        await lab.refused("w1", ["node", "inspect", "self"], workerText);
        equal(await lab.info("w1", ".Swarm.ControlAvailable"), "false");
        await until(async () => (await lab.info("w1", "len .Swarm.RemoteManagers")) === "3", {
          withinMs: 60_000,
          what: "w1 knows all managers",
        });
      });

      it("changes availability and labels of nodes", async () => {
        await lab.docker("m2", [
          "node",
          "update",
          "--availability",
          "drain",
          "--label-add",
          "disk=ssd",
          "w1",
        ]);
        equal((await lab.nodes("m3")).find((row) => row.hostname === "w1")?.availability, "Drain");
        equal(await names("m1", "node.label=disk=ssd"), "w1");
        await lab.docker("m3", [
          "node",
          "update",
          "--availability",
          "active",
          "--label-rm",
          "disk",
          "w1",
        ]);
        equal(await names("m1", "node.label=disk"), "");
      });

      it("promotes a worker and demotes a manager", async () => {
        equal(
          await lab.docker("m2", ["node", "promote", "w1"]),
          "Node w1 promoted to a manager in the swarm.",
        );
        await lab.settles("m1", [
          "m1 Ready Manager",
          "m2 Ready Manager",
          "m3 Ready Manager",
          "w1 Ready Manager",
          "w2 Ready",
        ]);
        await until(async () => (await lab.nodes("w1")).length === 5, {
          withinMs: 60_000,
          what: "w1 serves as a manager",
        });
        equal(await lab.docker("w1", ["node", "demote", "w1"]), "Manager w1 demoted in the swarm.");
        await lab.settles("m1", wholeSwarm);
        await until(() => lab.refused("w1", ["node", "ls"], workerText), {
          withinMs: 60_000,
          what: "w1 is a worker again",
        });
      });

      it("demotes the leader, which hands over first", async () => {
        const leader = await lab.leader("m1");
        const [other = ""] = managers.filter((name) => name !== leader);
        await lab.docker(leader, ["node", "demote", leader]);
        await lab.settles(
          other,
          wholeSwarm.map((row) => (row.startsWith(leader) ? `${leader} Ready` : row)),
        );
        await until(() => lab.refused(leader, ["node", "ls"], workerText), {
          withinMs: 60_000,
          what: "it is a worker",
        });
        await lab.docker(other, ["node", "promote", leader]);
        await lab.settles(other, wholeSwarm);
        await until(() => lab.nodes(leader), { withinMs: 60_000, what: `${leader} serves again` });
      });

      it("rotates tokens: the old one is refused, nodes that joined stay", async () => {
        for (const role of ["worker", "manager"] as const) {
          const old = await lab.token("m2", role);
          const rotated = await lab.token("m3", role, "--rotate");
          notEqual(rotated, old);
          equal(await lab.token("m1", role), rotated);
        }
        const worker = await lab.token("m1", "worker");
        const rotated = await lab.token("m1", "worker", "--rotate");
        await lab.docker("w2", ["swarm", "leave"]);
        await lab.settles(
          "m1",
          wholeSwarm.map((row) => (row === "w2 Ready" ? "w2 Down" : row)),
        );
        const join = (token: string) => ["swarm", "join", "--token", token, lab.remote("m2")];
        await lab.refused(
          "w2",
          join(worker),
          /A valid join token is necessary to join this cluster/,
        );
        equal(await lab.info("w2", ".Swarm.LocalNodeState"), "inactive");
        await lab.docker("w2", join(rotated));
        await lab.settles("m1", [...wholeSwarm, "w2 Down"]);
      });

      it("removes nodes that left, and refuses those that did not", async () => {
        const down = (await lab.nodes("m1")).find((row) => row.status === "Down");
        ok(down);
        equal(await lab.docker("m2", ["node", "rm", down.id]), down.id);
        await lab.settles("m3", wholeSwarm);
        await lab.refused(
          "m1",
          ["node", "rm", "w1"],
          /rpc error: code = FailedPrecondition desc = node [0-9a-z]{25} is not down and can't be removed/,
        );
        await lab.refused(
          "m1",
          ["node", "rm", "--force", "m2"],
          /is a cluster manager and is a member of the raft cluster\. It must be demoted to worker before removal/,
        );
        await lab.refused(
          "m1",
          ["node", "rm", "nobody"],
          /node nobody not found|No such node: nobody/,
        );
        equal(await lab.docker("m1", ["node", "rm", "--force", "w1"]), "w1");
        await until(async () => (await lab.info("w1", ".Swarm.LocalNodeState")) !== "active", {
          withinMs: 60_000,
          what: "w1 learns that it was removed",
        });
        await lab.docker("w1", ["swarm", "leave", "--force"]);
        const token = await lab.token("m1", "worker");
        await lab.docker("w1", ["swarm", "join", "--token", token, lab.remote("m1")]);
        await lab.settles("m1", wholeSwarm);
      });

      it("lets a manager leave only by force, and come back", async () => {
        await lab.refused("m3", ["swarm", "leave"], leaveText);
        equal(await lab.docker("m3", ["swarm", "leave", "--force"]), "Node left the swarm.");
        equal(await lab.info("m3", ".Swarm.LocalNodeState"), "inactive");
        await lab.settles(
          "m1",
          wholeSwarm.map((row) => (row.startsWith("m3") ? "m3 Down" : row)),
        );
        await lab.docker("m1", ["node", "rm", "m3"]);
        const token = await lab.token("m2", "manager");
        await lab.docker("m3", ["swarm", "join", "--token", token, lab.remote("m2")]);
        await lab.settles("m3", wholeSwarm);
      });

      it("changes the swarm's settings", async () => {
        await lab.docker("m2", [
          "swarm",
          "update",
          "--task-history-limit",
          "7",
          "--dispatcher-heartbeat",
          "4s",
          "--cert-expiry",
          "48h",
        ]);
        const said = await lab.docker("m3", ["info"]);
        match(said, /Task History Retention Limit: 7/);
        match(said, /Heartbeat Period: 4 seconds/);
        match(said, /Expiry Duration: 2 days/);
        await lab.refused("m1", ["swarm", "update", "--cert-expiry", "10m"], /expiry/i);
      });

      it("locks managers at a restart while autolock is on, until it is unlocked", async () => {
        const said = await lab.docker("m2", ["swarm", "update", "--autolock=true"]);
        match(said, /Swarm updated\./);
        const key = await lab.docker("m1", ["swarm", "unlock-key", "--quiet"]);
        match(key, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
        equal(await lab.docker("m3", ["swarm", "unlock-key", "--quiet"]), key);
        await lab.refused("m1", ["swarm", "unlock"], /swarm is not locked/);
        for (const name of ["m1", "m2"]) {
          await lab.restart(name, { kill: name === "m2" });
          await locked(name);
          await lab.refused(name, ["swarm", "unlock"], /invalid key provided/, `${wrongKey}\n`);
          await lab.refused(name, ["swarm", "unlock"], /invalid key provided/, "nonsense\n");
          await lab.docker(name, ["swarm", "unlock"], `${key}\n`);
          await lab.settles(name, wholeSwarm);
        }
      });

      it("rotates the unlock key on all managers", async () => {
        const old = await lab.docker("m1", ["swarm", "unlock-key", "--quiet"]);
        await lab.docker("m2", ["swarm", "unlock-key", "--rotate", "--quiet"]);
        const key = await lab.docker("m3", ["swarm", "unlock-key", "--quiet"]);
        notEqual(key, old);
        for (const name of ["m2", "m3"]) {
          await until(() => newKeyHolds(name, old, key), {
            withinMs: 60_000,
            what: `${name} is sealed with the new key`,
          });
          await lab.settles(name, wholeSwarm);
        }
        await lab.docker("m1", ["swarm", "update", "--autolock=false"]);
        equal((await lab.try("m2", ["swarm", "unlock-key", "--quiet"])).stdout.trim(), "");
      });

      it("starts without a key once autolock is off", async () => {
        await until(
          async () => {
            await lab.restart("m1");
            return (await lab.info("m1", ".Swarm.LocalNodeState")) !== "locked";
          },
          { withinMs: 60_000, what: "m1 starts unlocked" },
        );
        await lab.settles("m1", wholeSwarm);
      });

      it("keeps the last manager from leaving or being demoted, and lets it go by force", async () => {
        for (const name of ["m2", "m3"]) {
          await until(() => lab.docker("m1", ["node", "demote", name]), {
            withinMs: 60_000,
            what: `the leader reaches all managers and lets ${name} go`,
          });
          await lab.settles(
            "m1",
            wholeSwarm.map((row) =>
              row.startsWith(name) || row.startsWith("m2") ? row.replace(" Manager", "") : row,
            ),
          );
        }
        await lab.refused(
          "m1",
          ["node", "demote", "m1"],
          /attempting to demote the last manager of the swarm/,
        );
        await lab.refused(
          "m1",
          ["swarm", "leave"],
          /Removing the last manager erases all current state of the swarm/,
        );
        await lab.docker("w1", ["swarm", "leave"]);
        await lab.docker("m1", ["swarm", "leave", "--force"]);
        equal(await lab.info("m1", ".Swarm.LocalNodeState"), "inactive");
        equal(await lab.info("w1", ".Swarm.LocalNodeState"), "inactive");
      });
    });
  }

  const wrongKey = "SWMKEY-1-kcFVqnxOjUXWURrxVZKLhBHfsyGTmn6EsHx6ERl7O3g";

  async function names(from: string, filter: string): Promise<string> {
    const text = await lab.docker(from, [
      "node",
      "ls",
      "--filter",
      filter,
      "--format",
      "{{.Hostname}}",
    ]);
    return text.split("\n").sort().join(" ");
  }

  async function locked(name: string): Promise<void> {
    await until(async () => (await lab.info(name, ".Swarm.LocalNodeState")) === "locked", {
      withinMs: 60_000,
      what: `${name} is locked`,
    });
    await lab.refused(
      name,
      ["node", "ls"],
      /Swarm is encrypted and needs to be unlocked before it can be used/,
    );
    await lab.refused(
      name,
      ["swarm", "leave"],
      /Swarm is encrypted and locked\. Please unlock it first or use `--force`/,
    );
    await lab.refused(name, ["swarm", "init"], alreadyIn);
  }

  /** A manager learns of a new key a moment after the answer; one that was stopped before starts with the old key. */
  async function newKeyHolds(name: string, old: string, key: string): Promise<boolean> {
    await lab.restart(name);
    const isNew = (await lab.try(name, ["swarm", "unlock"], `${old}\n`)).code !== 0;
    if (isNew) await lab.docker(name, ["swarm", "unlock"], `${key}\n`);
    return isNew;
  }
});

interface NodeJson {
  readonly Spec: { readonly Role: string };
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly Addr: string };
  readonly ManagerStatus?: { readonly Addr: string; readonly Reachability: string };
}

function sorted(rows: readonly { readonly id: string }[]): unknown[] {
  return [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
}
