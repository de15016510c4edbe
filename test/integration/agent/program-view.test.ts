/**
 * crun on a read-only mount: that it runs from there without making one of its own, and what is there without the mount.
 */
import { deepEqual, equal, notEqual, rejects, throws } from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram } from "../../../agent/exec/containerd/node-facts.ts";
import {
  hideProgram,
  seeingPrograms,
  showProgram,
} from "../../../agent/exec/containerd/program-view.ts";
import { startDaemon } from "../../support/real-daemon.ts";
import { until } from "../../support/wait.ts";

describe("agent/exec/containerd/program-view", () => {
  let dir: string;
  let folder: string;
  /** Stands for crun. */
  let program: string;
  const name = "skep-program";

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "skep-view-"));
    folder = join(dir, "view");
    mkdirSync(join(dir, "bin"));
    program = join(dir, "bin", name);
    writeProgram("old");
  });
  afterEach(async () => {
    await hideProgram(folder, name);
    rmSync(dir, { recursive: true, force: true });
  });

  const writeProgram = (says: string) =>
    writeFileSync(program, `#!/bin/sh\necho ${says}\n`, { mode: 0o755 });
  const env = () =>
    seeingPrograms(folder, { ...process.env, PATH: `${join(dir, "bin")}:${process.env["PATH"]}` });
  const seen = () =>
    execFileSync("sh", ["-c", `command -v ${name}`], { env: env(), encoding: "utf8" }).trim();

  it("finds the program first, where it cannot be written", async () => {
    await showProgram(folder, program);
    equal(seen(), join(folder, name));
    throws(() => openSync(join(folder, name), "r+"), { code: "EROFS" });
    throws(() => rmSync(join(folder, "read-only", name)), { code: "EROFS" });
  });

  it("shows another version once that is installed", async () => {
    await showProgram(folder, program);
    rmSync(program);
    writeProgram("new");
    equal(execFileSync(join(folder, name), { encoding: "utf8" }), "new\n");
  });

  it("leaves the installed program to be found, and no mount, when it is taken back", async () => {
    await showProgram(folder, program);
    await hideProgram(folder, name);
    equal(seen(), program);
    deepEqual(mountsIn(dir), []);
    equal(existsSync(folder), false);
    deepEqual(readdirSync(join(dir, "bin")), [name]);
  });

  it("finds the installed program when the mount alone has gone", async () => {
    await showProgram(folder, program);
    execFileSync("umount", ["-n", join(folder, "read-only")]);
    equal(seen(), program);
  });

  it("replaces what a daemon that was killed left", async () => {
    await showProgram(folder, program);
    await showProgram(folder, program);
    equal(mountsIn(dir).length, 1);
    equal(seen(), join(folder, name));
  });

  it("leaves nothing where the program is not there", async () => {
    rmSync(program);
    await rejects(showProgram(folder, program), { code: "ENOENT" });
    equal(existsSync(folder), false);
  });

  /** What crun runs from once it wants to read what it is to do. */
  async function exeOf(command: string, environment: NodeJS.ProcessEnv): Promise<string> {
    const config = join(dir, "config.json");
    execFileSync("mkfifo", [config]);
    const words = ["--root", join(dir, "state"), "run", "--bundle", dir, "skep-view"];
    const child = spawn(command, words, { env: environment, stdio: "ignore" });
    const ended = once(child, "exit");
    try {
      await until(() => isRead(config), { withinMs: 20_000, what: "crun reads its configuration" });
      return readlinkSync(`/proc/${child.pid}/exe`);
    } finally {
      child.kill("SIGKILL");
      await ended;
      rmSync(config);
    }
  }

  it("has crun run from it as it is, and guard itself where the variable is a lie", async () => {
    const crun = findProgram(["crun"]) ?? "not installed";
    const view = join(dir, "crun");
    await showProgram(view, crun);
    try {
      const environment = seeingPrograms(view, process.env);
      equal(await exeOf("crun", environment), join(view, "read-only", "crun"));
      notEqual(await exeOf(crun, environment), crun);
    } finally {
      await hideProgram(view, "crun");
    }
  });

  it("is made by a daemon before its containerd, and goes with it", async () => {
    const daemon = await startDaemon();
    const mounted = () => mountsIn(daemon.dir).filter((line) => line.includes("/programs-"));
    try {
      const pidFile = join(daemon.dir, "data/containerd/containerd.pid");
      await until(() => existsSync(pidFile), { withinMs: 20_000, what: "containerd" });
      const [pid] = readFileSync(pidFile, "utf8").split(" ");
      const variables = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      const path = variables.find((text) => text.startsWith("PATH="))?.slice("PATH=".length);
      const [first = ""] = path?.split(":") ?? [];
      equal(realpathSync(join(first, "crun")), join(first, "read-only", "crun"));
      equal(mounted().length, 1);
    } finally {
      await daemon.stop();
    }
    deepEqual(mounted(), []);
  });
});

function mountsIn(folder: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => line.includes(folder));
}

/** Whether somebody has the pipe open to read from it. */
function isRead(pipe: string): boolean {
  try {
    closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}
