/**
 * One daemon per data root: who holds it, over a made-up table of processes.
 */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type InstanceLock, lockInstance } from "../../../../src/node/instance-lock.ts";

/** Certainly another process than this one. */
const other = process.pid + 1;

describe("src/node/instance-lock", () => {
  let folder: string;
  let dataRoot: string;
  let pidFile: string;
  let proc: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-lock-"));
    [dataRoot, pidFile, proc] = [
      join(folder, "data"),
      join(folder, "run", "pid"),
      join(folder, "proc"),
    ];
    runs(process.pid, { started: 500 });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** Puts a process into the table; its name has what makes parsing hard. */
  function runs(
    pid: number,
    process: { readonly started: number; readonly state?: string; readonly command?: string },
  ): void {
    mkdirSync(join(proc, `${pid}`), { recursive: true });
    const before = Array.from({ length: 18 }, (_, i) => i).join(" ");
    const { started, state = "S", command = "node\0skep.js\0daemon\0" } = process;
    writeFileSync(
      join(proc, `${pid}`, "stat"),
      `${pid} (a) b 9) ${state} ${before} ${started} 0 0`,
    );
    writeFileSync(join(proc, `${pid}`, "cmdline"), command);
  }

  function lock(withPidFile = false): InstanceLock {
    return lockInstance({ dataRoot, pidFile: withPidFile ? pidFile : undefined }, proc);
  }

  function claim(pid: number, started: number | string): void {
    mkdirSync(dataRoot, { recursive: true });
    writeFileSync(join(dataRoot, `daemon.${pid}-${started}.lock`), "");
  }

  it("takes a new data root, naming process and start time", () => {
    lock();
    assert.deepEqual(readdirSync(dataRoot), [`daemon.${process.pid}-500.lock`]);
    assert.equal(statSync(dataRoot).mode & 0o777, 0o711);
  });

  it("writes the pid file", () => {
    lock(true);
    assert.equal(readFileSync(pidFile, "utf8"), `${process.pid}`);
  });

  it("removes both when it is released", () => {
    lock(true).release();
    assert.ok(!existsSync(pidFile));
    assert.deepEqual(readdirSync(dataRoot), []);
  });

  it("leaves alone what another daemon took after the release", () => {
    const held = lock();
    held.release();
    claim(other, 1);
    held.release();
    assert.deepEqual(readdirSync(dataRoot), [`daemon.${other}-1.lock`]);
  });

  it("refuses a data root that a running daemon holds, naming it", () => {
    runs(other, { started: 77 });
    claim(other, 77);
    assert.throws(() => lock(true), {
      code: "failed-precondition",
      message: `data root ${dataRoot} is in use by the daemon with process id ${other}: stop it, or choose another --data-root`,
    });
    assert.ok(!existsSync(pidFile));
  });

  const stale: readonly (readonly [string, number, number, (() => void) | undefined])[] = [
    ["a process that is gone", other, 77, undefined],
    ["a number that another process has now", other, 77, () => runs(other, { started: 78 })],
    ["a daemon nobody has reaped", other, 77, () => runs(other, { started: 77, state: "Z" })],
    ["this very number, of an earlier boot", process.pid, 1, undefined],
  ];
  for (const [fact, pid, started, prepare] of stale) {
    it(`takes over a lock of ${fact}`, () => {
      prepare?.();
      claim(pid, started);
      lock();
      assert.deepEqual(readdirSync(dataRoot), [`daemon.${process.pid}-500.lock`]);
    });
  }

  it("refuses a pid file of a running daemon and leaves the data root free", () => {
    runs(other, { started: 77 });
    mkdirSync(join(folder, "run"));
    writeFileSync(pidFile, `${other}`);
    assert.throws(() => lock(true), {
      code: "failed-precondition",
      message: `pid file ${pidFile} names the running process ${other}: stop it, or choose another --pidfile`,
    });
    assert.deepEqual(readdirSync(dataRoot), []);
  });

  it("takes over a pid file whose number another program has now", () => {
    runs(other, { started: 77, command: "sshd\0" });
    mkdirSync(join(folder, "run"));
    writeFileSync(pidFile, `${other}\n`);
    lock(true);
    assert.equal(readFileSync(pidFile, "utf8"), `${process.pid}`);
  });

  it("knows a real process by the kernel's own table", () => {
    const stat = readFileSync(`/proc/${process.ppid}/stat`, "utf8");
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    claim(process.ppid, started ?? "");
    const take = () => lockInstance({ dataRoot, pidFile: undefined });
    assert.throws(take, { code: "failed-precondition" });
    rmSync(dataRoot, { recursive: true });
    claim(process.ppid, Number(started) + 1);
    take().release();
  });
});
