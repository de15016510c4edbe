/**
 * Which processes are sent signals.
 */
import assert from "node:assert/strict";
import { signalInside } from "../../../../../agent/exec/containerd/signal-inside.ts";

describe("agent/exec/containerd/signal-inside", () => {
  const sent: string[] = [];
  const tools = {
    cgroupsOf: (pid: number) => {
      if (pid === 404) throw new Error("ENOENT");
      return pid === 7 ? "3:cpu:/skep/ab/c1\n0::/skep/ab/c1\n" : "0::/user.slice\n";
    },
    kill: (pid: number, signal: number) => sent.push(`${pid} ${signal}`),
  };

  it("sends one to a process in the cgroup of the container", () => {
    assert.equal(signalInside(7, "c1", 15, tools), true);
    assert.deepEqual(sent, ["7 15"]);
  });

  it("leaves all others alone", () => {
    assert.equal(signalInside(7, "c2", 9, tools), false);
    assert.equal(signalInside(8, "c1", 9, tools), false);
    assert.equal(signalInside(404, "c1", 9, tools), false);
    // No process: all of a group, or of the machine.
    for (const pid of [1, 0, -1, -7]) assert.equal(signalInside(pid, "c1", 9, tools), false);
    assert.equal(signalInside(process.pid, "no such container", 9), false);
    assert.deepEqual(sent, ["7 15"]);
  });

  it("says so when the kernel does not take it", () => {
    const refused = {
      ...tools,
      kill: () => {
        throw new Error("ESRCH");
      },
    };
    assert.equal(signalInside(7, "c1", 9, refused), false);
  });
});
