/** The leak check itself: it must see what is left behind and what is gone, and be quiet about an unchanged machine. */
import { deepEqual, ok } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { difference, type MachineState, machineState } from "../../../support/leaks.ts";

describe("test/support/leaks", () => {
  it("names new lines of every kind and missing lines of the lasting kinds", () => {
    const before = emptyState({ link: ["lo", "eth0"], process: ["1 a"], nft: ["table ip x"] });
    const after = emptyState({ link: ["lo", "skep-b"], process: ["2 b"], nft: ["table ip x"] });
    const added = ["process: 2 b", "link: skep-b"];
    deepEqual(difference(before, after, false), [...added, "gone link: eth0"]);
    deepEqual(difference(before, after, true), added);
  });

  it("sees a process that was started and one that has ended", async () => {
    const before = machineState();
    const child = spawn("sleep", ["1000"], { stdio: "ignore" });
    await once(child, "spawn");
    const mine = (state: MachineState) =>
      [...state.process].filter((line) => line.startsWith(`${child.pid} `));
    deepEqual(mine(before), []);
    ok(mine(machineState()).length === 1);
    child.kill("SIGKILL");
    await once(child, "exit");
    deepEqual(mine(machineState()), []);
  });
});

function emptyState(lines: Partial<Record<keyof MachineState, string[]>>): MachineState {
  const kinds = Object.keys(machineState()) as (keyof MachineState)[];
  return Object.fromEntries(
    kinds.map((kind) => [kind, new Set(lines[kind] ?? [])]),
  ) as unknown as MachineState;
}
