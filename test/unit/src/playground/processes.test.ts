/** Which process of a playground is the daemon, while it starts programs; and whether one has ended. */
import { equal } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { firstOf, isThere, type PlaygroundProcess } from "../../../../src/playground/processes.ts";

const daemon = (pid: number, parent: number): PlaygroundProcess => ({
  ...{ pid, parent, part: "daemon w1", isInit: false },
  words: ["node", "skep.js", "daemon", "--data-root", "data"],
});

describe("processes of a playground", () => {
  const cases: [string, PlaygroundProcess[], number | undefined][] = [
    ["none", [], undefined],
    ["the daemon alone", [daemon(30_000, 17)], 30_000],
    [
      "a child that is to become another program",
      [daemon(30_000, 17), daemon(30_001, 30_000)],
      30_000,
    ],
    ["such a child after pids began again", [daemon(412, 30_000), daemon(30_000, 17)], 30_000],
    ["such a child whose parent has ended", [daemon(412, 17)], 412],
  ];
  for (const [name, alike, expected] of cases) {
    it(`knows the daemon: ${name}`, () => equal(firstOf(alike)?.pid, expected));
  }

  it("sees the end of a process", async () => {
    const child = spawn("cat", { stdio: ["pipe", "ignore", "ignore"] });
    equal(isThere(child.pid ?? 0), true);
    child.stdin.end();
    await once(child, "exit");
    equal(isThere(child.pid ?? 0), false);
  });
});
