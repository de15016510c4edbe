/**
 * What befalls managers: SIGKILL, damaged files, clocks that jump, full disks, the loss of the majority. A manager of three
 * has to come back with the others' state; a lone one has to say what is wrong and what to do, with its daemon alive.
 */
import { equal, match, ok } from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { shiftedClock } from "../../src/playground/playground.ts";
import { corruptDatabase, truncateDatabase } from "../support/damage.ts";
import { dockerClients } from "../support/docker.ts";
import { SwarmLab } from "../support/swarm-lab.ts";
import { until } from "../support/wait.ts";

const managers = ["m1", "m2", "m3"];
const whole = managers.map((name) => `${name} Ready Manager`);

describe("faults of managers", function () {
  this.timeout(300_000);
  let lab: SwarmLab;
  /** Secrets that were acknowledged and not removed. */
  const kept: string[] = [];

  before(async () => {
    lab = await SwarmLab.up("skep-e2e-faults", managers);
    await lab.form(managers);
    await store("first");
  });

  after(() => lab?.down());

  describe("one of three", () => {
    const damages: readonly (readonly [string, (folder: string) => void])[] = [
      ["a corrupted log", (raft) => corruptDatabase(`${raft}/log`)],
      ["a truncated log", (raft) => truncateDatabase(`${raft}/log`)],
      ["a lost log", (raft) => rmSync(`${raft}/log`, { recursive: true })],
      ["a corrupted checkpoint", (raft) => corruptDatabase(`${raft}/state`)],
      ["a truncated checkpoint", (raft) => truncateDatabase(`${raft}/state`)],
      ["a lost checkpoint", (raft) => rmSync(`${raft}/state`, { recursive: true })],
      ["a garbled floor file", (raft) => writeFileSync(`${raft}/floor`, "garbled")],
      [
        "a log and checkpoint corrupted at once",
        (raft) => {
          corruptDatabase(`${raft}/log`);
          corruptDatabase(`${raft}/state`);
        },
      ],
    ];
    for (const [title, damage] of damages) {
      it(`comes back from SIGKILL and ${title} with the others' state`, async () => {
        await lab.playground.killDaemon("m2");
        await store(title.replaceAll(" ", "-"), "m1");
        damage(lab.data("m2", "raft"));
        await lab.playground.startNode("m2");
        await rejoined("m2");
      });
    }

    it("is told to leave and join again when its certificate is destroyed", async () => {
      await lab.restart("m2", {
        between: () => writeFileSync(lab.data("m2", "node", "cert.pem"), "garbled"),
      });
      await until(async () => (await lab.info("m2", ".Swarm.LocalNodeState")) === "error", {
        withinMs: 60_000,
        what: "m2 has found its certificate destroyed",
      });
      for (const client of dockerClients()) {
        lab.client = client;
        match(
          await lab.docker("m2", ["info"]),
          /Error: .*leave with "docker swarm leave --force" and join again/,
        );
      }
      await lab.docker("m2", ["swarm", "leave", "--force"]);
      await lab.docker("m1", ["node", "demote", "m2"]);
      await until(() => lab.docker("m1", ["node", "rm", "--force", "m2"]), {
        withinMs: 60_000,
        what: "m2 can be removed",
      });
      await lab.docker("m2", [
        "swarm",
        "join",
        "--token",
        await lab.token("m3", "manager"),
        lab.remote("m1"),
      ]);
      await rejoined("m2");
    });

    for (const [shift, serves] of [
      ["+2h", true],
      ["-50m", true],
      // Certificates are back-dated by an hour: before that moment nobody's is valid yet.
      ["-2h", false],
      ["+100d", false],
    ] as const) {
      it(`${serves ? "serves" : "harms nobody"} while its clock is at ${shift}, and is back after it jumped back`, async () => {
        await lab.playground.killDaemon("m3");
        await lab.playground.startNode("m3", { env: shiftedClock(shift) });
        await store(`while-m3-is-at-${shift.replace("+", "plus").replace("-", "minus")}`, "m1");
        if (serves) await rejoined("m3");
        await lab.playground.killDaemon("m3");
        await lab.playground.startNode("m3", { env: {} });
        await rejoined("m3");
      });
    }

    it("refuses nothing and loses nothing while the disk of one is full", async () => {
      const leader = await lab.leader("m1");
      await withSmallDisk(leader, async () => {
        await fill(leader);
        const other = managers.find((name) => name !== leader) ?? "";
        await until(() => storeAtLast("with-one-full", other), {
          withinMs: 60_000,
          what: `a write while ${leader} is full`,
        });
        await free(leader);
        await rejoined(leader);
      });
      await rejoined(leader);
    });
  });

  describe("a lone survivor of three", () => {
    it("says that there is no quorum, and why", async () => {
      await lab.playground.killNode("m2");
      await lab.playground.killNode("m3");
      for (const client of dockerClients()) {
        lab.client = client;
        await until(() => lab.refused("m1", ["node", "ls"], /The swarm does not have a leader/), {
          withinMs: 60_000,
          what: "m1 sees that it is alone",
        });
        await lab.refused(
          "m1",
          ["swarm", "leave"],
          /Doing so may lose|leaves 0 managers|Without a Raft quorum|restore a swarm that has lost consensus/,
        );
      }
      equal(await lab.info("m1", ".Swarm.LocalNodeState"), "active");
    });

    for (const restarted of [false, true]) {
      it(`keeps the state with --force-new-cluster, ${restarted ? "after a restart" : "in place"}, and lets new managers join`, async () => {
        if (restarted) {
          await lab.playground.killNode("m2");
          await lab.playground.killNode("m3");
          await lab.restart("m1", { kill: true });
        }
        const address = lab.playground.node("m1").address;
        const said = await lab.docker("m1", [
          "swarm",
          "init",
          "--force-new-cluster",
          "--advertise-addr",
          address,
        ]);
        match(said, /Swarm initialized/);
        equal(await lab.leader("m1"), "m1");
        equal(await secrets("m1"), [...kept].sort().join(" "));
        equal(await lab.info("m1", ".Swarm.Managers"), "1");
        await store(`survived-${restarted}`, "m1");
        for (const name of ["m2", "m3"]) {
          const ids = (await lab.nodes("m1")).filter((row) => row.hostname === name);
          for (const { id } of ids) {
            await until(() => lab.docker("m1", ["node", "rm", "--force", id]), {
              withinMs: 60_000,
              what: `${name} is removed`,
            });
          }
          await lab.playground.startNode(name);
          await lab.docker(name, ["swarm", "leave", "--force"]);
          await lab.docker(name, [
            "swarm",
            "join",
            "--token",
            await lab.token("m1", "manager"),
            lab.remote("m1"),
          ]);
        }
        await rejoined("m3");
        await rejoined("m2");
      });
    }
  });

  describe("a lone manager", () => {
    before(async () => {
      await lab.disband();
      kept.length = 0;
      await lab.form(["m1"]);
      await store("lone", "m1");
    });

    it("refuses writes with the reason while its disk is full, and goes on with all it had", async () => {
      await withSmallDisk("m1", async () => {
        await fill("m1");
        for (const client of dockerClients()) {
          lab.client = client;
          // The write that finds the disk full waits for room; whoever comes after is told at once.
          const create = ["secret", "create", "never", "-"];
          const large = new Uint8Array(400_000);
          await until(() => lab.refused("m1", create, /no space left/, large), {
            withinMs: 60_000,
            everyMs: 200,
            what: "writes are refused for want of space",
          });
        }
        equal(await secrets("m1"), kept.join(" "));
        await free("m1");
        await until(() => storeAtLast("after-space-returned", "m1"), {
          withinMs: 60_000,
          what: "writes go on",
        });
        const seen = new Set((await secrets("m1")).split(" "));
        for (const name of kept) ok(seen.has(name), name);
        await lab.playground.killDaemon("m1");
        await lab.playground.startNode("m1");
        await lab.leader("m1");
        for (const name of kept) ok((await secrets("m1")).split(" ").includes(name), name);
      });
    });

    for (const [title, damage] of [
      ["its log is corrupted", (raft: string) => corruptDatabase(`${raft}/log`)],
    ] as const) {
      it(`says in docker info that ${title} and what to do, and can begin anew`, async () => {
        await lab.restart("m1", { kill: true, between: () => damage(lab.data("m1", "raft")) });
        const pid = lab.playground.node("m1").daemonPid;
        for (const client of dockerClients()) {
          lab.client = client;
          const error = await until(
            async () => (await lab.info("m1", ".Swarm.Error")) || undefined,
            { withinMs: 60_000, what: "docker info tells an error" },
          );
          match(error, /log/);
          match(error, /--force-new-cluster|leave --force/);
          await lab.refused("m1", ["secret", "ls"], /./);
        }
        equal(lab.playground.node("m1").daemonPid, pid);
        await lab.docker("m1", ["swarm", "leave", "--force"]);
        await lab.form(["m1"]);
      });
    }
  });

  /** Writes a secret, which has to be there from now on. */
  async function store(name: string, node = "m1"): Promise<void> {
    await lab.docker(node, ["secret", "create", name, "-"], name);
    kept.push(name);
  }

  /** Writes a secret that an earlier try, of which no word came back, may have written. */
  async function storeAtLast(name: string, node: string): Promise<boolean> {
    const { code, stderr } = await lab.try(node, ["secret", "create", name, "-"], name);
    if (code !== 0 && !/already exists/.test(stderr)) return false;
    kept.push(name);
    return true;
  }

  async function secrets(node: string): Promise<string> {
    const text = await lab.docker(node, ["secret", "ls", "--format", "{{.Name}}"]);
    return text.split("\n").sort().join(" ");
  }

  /** Waits until the manager is one of three again and has every secret. */
  async function rejoined(node: string): Promise<void> {
    await lab.settles(node, whole, 60_000);
    await lab.settles("m1", whole, 60_000);
    equal(await secrets(node), [...kept].sort().join(" "));
  }

  /** Puts the node's raft folder onto a disk of 16 MiB for the time of `work`. */
  async function withSmallDisk(node: string, work: () => Promise<void>): Promise<void> {
    const raft = lab.data(node, "raft");
    const sh = (script: string) => onHost(node, script);
    await lab.playground.stopDaemon(node);
    await sh(
      `mkdir /run/keep && cp -a ${raft}/. /run/keep && mount -t tmpfs -o size=16m tmpfs ${raft} && cp -a /run/keep/. ${raft}`,
    );
    await lab.playground.startNode(node);
    await until(() => lab.nodes(node), { withinMs: 60_000, what: `${node} serves` });
    try {
      await work();
    } finally {
      await lab.playground.stopDaemon(node);
      await sh(
        `rm -rf /run/keep && cp -a ${raft} /run/keep && umount ${raft} && rm -rf ${raft}/* && cp -a /run/keep/. ${raft} && rm -rf /run/keep`,
      );
      await lab.playground.startNode(node);
    }
  }

  /** Takes the last byte of the node's small disk. */
  async function fill(node: string): Promise<void> {
    await onHost(node, `cat /dev/zero > ${lab.data(node, "raft", "ballast")} 2>/dev/null; true`);
  }

  async function free(node: string): Promise<void> {
    await onHost(node, `rm ${lab.data(node, "raft", "ballast")}`);
  }

  async function onHost(node: string, script: string): Promise<void> {
    const { code, stderr } = await lab.playground.exec(node, ["sh", "-c", script]);
    equal(code, 0, `${script}: ${stderr}`);
  }
});
