/**
 * What is computed about processes in containers: the spec of an exec, why one fails, `top` and `stats`.
 */
import { deepEqual, equal, match, throws } from "node:assert/strict";
import { execFailure, execProcess } from "../../../../../agent/exec/containerd/exec.ts";
import {
  interfaceCounters,
  systemCpuNs,
  usageOf,
} from "../../../../../agent/exec/containerd/stats.ts";
import { tableOf } from "../../../../../agent/exec/containerd/top.ts";
import type { ExecConfig } from "../../../../../src/common/container/containers.ts";
import {
  MetricsV1,
  MetricsV1Cpu,
  MetricsV1CpuUsage,
  MetricsV1Memory,
  MetricsV1MemoryEntry,
  MetricsV2,
  MetricsV2Cpu,
  MetricsV2Io,
  MetricsV2IoEntry,
  MetricsV2Memory,
} from "../../../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../../../src/common/errors/cluster-error.ts";

const config: ExecConfig = {
  command: ["sh"],
  env: [],
  workingDir: "",
  user: "",
  tty: false,
  attachStdin: false,
  attachStdout: true,
  attachStderr: true,
  privileged: false,
};
const base = {
  args: ["sleep"],
  env: ["PATH=/bin", "HOME=/root", "X=1"],
  cwd: "/app",
  user: { uid: 0, gid: 0 },
  noNewPrivileges: true,
  capabilities: { bounding: ["CAP_KILL"], effective: ["CAP_KILL"], permitted: ["CAP_KILL"] },
};

describe("agent/exec/containerd/exec", () => {
  it("takes over what the container's process has, and changes what is asked for", () => {
    const process = execProcess(
      base,
      { ...config, env: ["X=2", "PATH"], workingDir: "/tmp", tty: true },
      undefined,
      { width: 80, height: 24 },
    );
    deepEqual(process.env, ["HOME=/root", "X=2", "TERM=xterm"]);
    deepEqual([process.cwd, process.args, process.terminal], ["/tmp", ["sh"], true]);
    equal(process["noNewPrivileges"], true);
    deepEqual(process["capabilities"], base.capabilities);
  });

  it("gives another user his groups and home, and no capabilities", () => {
    const user = { uid: 1000, gid: 100, additionalGids: [5], home: "/srv/app" };
    const process = execProcess(base, config, user, undefined);
    deepEqual(process.user, { uid: 1000, gid: 100, additionalGids: [5] });
    deepEqual(process.env, ["PATH=/bin", "HOME=/srv/app", "X=1"]);
    deepEqual(process["capabilities"], {
      bounding: ["CAP_KILL"],
      effective: [],
      permitted: [],
    });
  });

  it("gives all capabilities to a privileged process", () => {
    const process = execProcess(base, { ...config, privileged: true }, undefined, undefined);
    const { effective } = process["capabilities"] as { effective: string[] };
    equal(effective.includes("CAP_SYS_ADMIN"), true);
  });

  for (const [command, text, code, words] of [
    ["no", 'exec: "no": executable file not found in $PATH: unknown', 127, /"no": executable file/],
    ["no", "executable file `no` not found in $PATH: No such file", 127, /"no": executable file/],
    ["/x", 'exec: "/x": stat /x: no such file or directory: unknown', 127, /stat \/x: no such/],
    ["/etc", "open executable: Permission denied: unknown", 126, /"\/etc": permission denied/],
    ["sh", "something else", 126, /^something else$/],
  ] as const) {
    it(`tells "${text}" as Docker does, with ${code}`, () => {
      const failure = execFailure(
        { ...config, command: [command] },
        new ClusterError("unknown", text),
      );
      equal(failure.exitCode, code);
      equal(failure.error.code, "invalid-argument");
      match(failure.error.message, words);
    });
  }
});

describe("agent/exec/containerd/top", () => {
  const text = [
    "UID   PID  PPID CMD",
    "root    1     0 /sbin/init -x",
    "root   77     1 sh -c  sleep 5",
    "",
  ].join("\n");

  it("shows the container's processes only, commands with their blanks", () => {
    deepEqual(tableOf(text, new Set([77])), {
      titles: ["UID", "PID", "PPID", "CMD"],
      processes: [["root", "77", "1", "sh -c sleep 5"]],
    });
  });

  it("refuses a form of ps without process ids", () => {
    throws(() => tableOf("CMD\nsh\n", new Set([1])), /Couldn't find PID field in ps output/);
  });
});

describe("agent/exec/containerd/stats", () => {
  it("reads metrics of cgroup v1", () => {
    const value = MetricsV1.encode(
      MetricsV1.create({
        cpu: MetricsV1Cpu.create({
          usage: MetricsV1CpuUsage.create({ total: 30, user: 20, kernel: 10, perCpu: [10, 20] }),
        }),
        memory: MetricsV1Memory.create({
          totalInactiveFile: 5,
          usage: MetricsV1MemoryEntry.create({ usage: 50, limit: 100 }),
        }),
      }),
    );
    const usage = usageOf({ typeUrl: "io.containerd.cgroups.v1.Metrics", value });
    deepEqual(
      [usage.cpuTotalNs, usage.cpuPerCoreNs, usage.memoryUsageBytes, usage.memoryInactiveFileBytes],
      [30, [10, 20], 50, 5],
    );
    equal(usage.memoryLimitBytes, 100);
  });

  it("reads metrics of cgroup v2", () => {
    const value = MetricsV2.encode(
      MetricsV2.create({
        cpu: MetricsV2Cpu.create({ usageUsec: 7, nrThrottled: 2 }),
        memory: MetricsV2Memory.create({ usage: 50, inactiveFile: 5 }),
        io: MetricsV2Io.create({
          usage: [MetricsV2IoEntry.create({ major: 8, minor: 1, rbytes: 3, wbytes: 4 })],
        }),
      }),
    );
    const usage = usageOf({ typeUrl: "io.containerd.cgroups.v2.Metrics", value });
    deepEqual([usage.cpuTotalNs, usage.throttledPeriods, usage.memoryUsageBytes], [7000, 2, 50]);
    deepEqual(usage.blockIo, [
      { major: 8, minor: 1, op: "read", value: 3 },
      { major: 8, minor: 1, op: "write", value: 4 },
    ]);
  });

  it("reads the kernel's counters", () => {
    equal(systemCpuNs("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n"), 28e7);
    const text = [
      "Inter-|   Receive |  Transmit",
      " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs",
      "    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0",
      "  eth0: 100 2 0 0 0 0 0 0 300 4 0 0 0 0 0 0",
    ].join("\n");
    deepEqual(interfaceCounters(text), {
      eth0: { rxBytes: 100, rxPackets: 2, txBytes: 300, txPackets: 4 },
    });
  });
});
