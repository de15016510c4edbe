/**
 * The bytes of instructions and programs as the kernel reads them.
 */
import { equal, throws } from "node:assert/strict";
import {
  addRegister,
  assemble,
  call,
  copy,
  exit,
  flip,
  fromNetwork,
  go,
  goUnlessEqual,
  load,
  mark,
  set,
  setMap,
  shiftDown,
  shiftUp,
  store,
  subtractRegister,
} from "../../../../../agent/network/bpf/assembler.ts";
import * as streams from "../../../../../agent/network/bypass/programs.ts";
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

  it("writes sums, shifts and the order of bytes as the kernel reads them", () => {
    const steps = [
      ...[addRegister(3, 4), subtractRegister(8, 1), shiftDown(4, 16), shiftUp(4, 16)],
      ...[flip(3, 0xffff), fromNetwork(1)],
    ];
    const bytes = [
      "0f 43 0000 00000000",
      "1f 18 0000 00000000",
      "77 04 0000 10000000",
      "67 04 0000 10000000",
      "a7 03 0000 ffff0000",
      "dc 01 0000 10000000",
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
    const names = [...Object.keys(maps), ...Object.keys(streams.maps)];
    const descriptors = Object.fromEntries(names.map((name, at) => [name, at + 3]));
    const ofStreams = [streams.arriving(), streams.leaving(true), streams.leaving(false)];
    for (const steps of [arriving(), leaving(true), leaving(false), ...ofStreams]) {
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
