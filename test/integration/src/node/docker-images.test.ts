/**
 * A daemon with its real containerd, a real registry and the stock docker clients: images as users deal with them.
 */
import { equal, match, notEqual, ok } from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dockerClients, runDocker } from "../../../support/docker.ts";
import { registryUser, startRegistry, type TestRegistry } from "../../../support/registry.ts";
import { until } from "../../../support/wait.ts";

describe("skep daemon: images with the stock clients", () => {
  let folder: string;
  let socket: string;
  let daemon: ChildProcess;
  let hub: TestRegistry;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-images-"));
    socket = join(folder, "d.sock");
    hub = await startRegistry({ password: true });
    await hub.pushTestImages("team");
    const words = ["build/src/bin/skep.js", "daemon", "--data-root", join(folder, "data")];
    const more = ["--exec-root", join(folder, "run"), "--host", `unix://${socket}`];
    daemon = spawn(process.execPath, [...words, ...more], { stdio: "ignore" });
    const [client] = dockerClients();
    await until(async () => client && (await runDocker(client, socket, ["info"])).code === 0, {
      ...{ withinMs: 60_000, what: "the daemon answers" },
    });
  });
  after(async () => {
    const ended = new Promise((resolve) => daemon.once("exit", resolve));
    daemon.kill("SIGTERM");
    await ended;
    await hub?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const client of dockerClients()) {
    describe(client.name, () => {
      const run = (...args: string[]) =>
        runDocker(client, socket, ["--config", join(folder, client.name), ...args]);
      const docker = async (...args: string[]) => {
        const { code, stdout, stderr } = await run(...args);
        equal(code, 0, `docker ${args.join(" ")}: ${stderr}`);
        return stdout.trim();
      };
      const refused = async (...args: string[]) => {
        const { code, stderr } = await run(...args);
        notEqual(code, 0, `docker ${args.join(" ")}`);
        return stderr;
      };
      let name: string;

      before(() => {
        name = `${hub.address}/team/busybox:1`;
      });
      after(async () => {
        const ids = await docker("ps", "-aq");
        if (ids !== "") await docker("rm", "-f", ...ids.split("\n"));
        await docker("image", "prune", "-af");
        match(await docker("system", "df"), /Images\s+0\s/);
      });

      it("pulls after a log in only", async () => {
        match(await refused("pull", name), /no basic auth credentials/);
        const { name: user, password } = registryUser;
        match(await refused("login", "-u", user, "-p", "x", hub.address), /unauthorized/);
        const login = await docker("login", "-u", user, "-p", password, hub.address);
        match(login, /Login Succeeded/);
        match(await docker("pull", name), /Status: Downloaded newer image for/);
        match(await docker("pull", name), /Status: Image is up to date for/);
        match(await refused("pull", `${hub.address}/team/none:1`), /manifest for .* not found/);
        match(
          await refused("pull", "-q", `${hub.address}/team/arm-only:1`),
          /no matching manifest/,
        );
      });

      it("runs what it pulled, and makes an image of it", async () => {
        equal(
          await docker("run", "--rm", "--network", "none", name, "cat", "/etc/greeting"),
          "hello from the hive",
        );
        await docker(
          "run",
          "--name",
          "maker",
          "--network",
          "none",
          name,
          "sh",
          "-c",
          "echo wax >/comb; rm /etc/group",
        );
        const id = await docker(
          "commit",
          "-m",
          "with wax",
          "-c",
          'CMD ["cat","/comb"]',
          "maker",
          "made:1",
        );
        match(id, /^sha256:/);
        equal(await docker("run", "--rm", "--network", "none", "made:1"), "wax");
        match(
          await refused("run", "--rm", "--network", "none", "made:1", "cat", "/etc/group"),
          /No such file/,
        );
        match(await docker("history", "made:1"), /with wax/);
        match(await refused("rmi", name), /container \w+ is using its referenced image/);
      });

      it("pushes, saves, loads, imports and removes", async () => {
        const pushed = `${hub.address}/team/${client.name}:2`;
        await docker("tag", "made:1", pushed);
        match(await docker("push", pushed), /2: digest: sha256:\w+ size: \d+/);
        const archive = join(folder, `${client.name}.tar`);
        await docker("save", "-o", archive, "made:1", name);
        await docker("rmi", "made:1", pushed);
        match(await refused("run", "--rm", "--pull", "never", "made:1"), /No such image/);
        const loaded = await docker("load", "-i", archive);
        match(loaded, /Loaded image: made:1/);
        ok(loaded.includes(`Loaded image: ${name}`));
        equal(await docker("run", "--rm", "--network", "none", "made:1"), "wax");
        await docker("rm", "maker");
        await docker("rmi", "made:1");
        equal(await docker("run", "--rm", "--network", "none", pushed), "wax");
        await docker("create", "--name", "source", "--network", "none", name);
        await docker("export", "-o", archive, "source");
        await docker("import", "-c", "CMD cat /etc/greeting", "-m", "by hand", archive, "flat:1");
        equal(await docker("run", "--rm", "--network", "none", "flat:1"), "hello from the hive");
        await docker("rm", "source");
        match(await docker("images", "flat"), /flat\s+1\s/);
      });
    });
  }
});
