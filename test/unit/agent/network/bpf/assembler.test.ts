/**
 * The bytes of instructions and programs as the kernel reads them.
 */
import { equal, throws } from "node:assert/strict";
import {
  assemble,
  call,
  copy,
  exit,
  go,
  goUnlessEqual,
  load,
  mark,
  set,
  setMap,
  store,
} from "../../../../../agent/network/bpf/assembler.ts";
import {
  arriving,
  countsJumps,
  leaving,
  maps,
} from "../../../../../agent/network/shortcut/programs.ts";

const hex = (...lines: readonly string[]) => lines.join("").replaceAll(" ", "");

describe("agent/network/bpf/assembler", () => {
  it("writes instructions as the kernel reads them", () => {
    const steps = [copy(6, 1), load(4, 2, 6, 76), store(2, 10, -12, 5), set(0, -1), exit()];
    const bytes = [
      "bf 16 0000 00000000",
      "61 62 4c00 00000000",
      "6b 5a f4ff 00000000",
      "b7 00 0000 ffffffff",
      "95 00 0000 00000000",
    ];
    equal(assemble(steps, {}).toString("hex"), hex(...bytes));
  });

  it("counts a map as two instructions, also for jumps over it", () => {
    const steps = [goUnlessEqual(0, 3, "end"), setMap(1, "m"), call(1), mark("end"), exit()];
    const bytes = [
      "55 00 0300 03000000",
      "18 11 0000 07000000",
      "00 00 0000 00000000",
      "85 00 0000 01000000",
      "95 00 0000 00000000",
    ];
    equal(assemble(steps, { m: 7 }).toString("hex"), hex(...bytes));
  });

  it("refuses jumps back, places that are not there and maps that are not given", () => {
    throws(() => assemble([mark("begin"), go("begin")], {}), /begin/);
    throws(() => assemble([go("nowhere"), exit()], {}), /nowhere/);
    throws(() => assemble([setMap(1, "absent"), exit()], {}), /absent/);
  });

  it("takes the programs beside it, whose jumps all lead somewhere", () => {
    const descriptors = Object.fromEntries(Object.keys(maps).map((name, at) => [name, at + 3]));
    for (const steps of [arriving(), leaving(true), leaving(false)]) {
      equal(assemble(steps, descriptors).length % 8, 0);
    }
  });

  it("puts frames past a container's link only where the kernel counts them all the same", () => {
    for (const kernel of ["6.18.44-x", "6.7.0", "7.0.1"]) equal(countsJumps(kernel), true, kernel);
    for (const kernel of ["6.6.51+rpt-rpi-v8", "6.1.0-28-amd64", "5.10.0", ""]) {
      equal(countsJumps(kernel), false, kernel);
    }
  });
});
