/**
 * Which platforms machines of all kinds can run, natively and by emulators.
 */
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import {
  armVersionOf,
  emulatedBy,
  type MachineFacts,
  platformsOf,
} from "../../../../../agent/exec/containerd/platforms.ts";

const level2 = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"];
const level3 = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave", ...level2];
const level4 = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", ...level3];

/** An entry of binfmt_misc as the kernel shows it. */
function entry(magic: string, change: Readonly<Record<string, string>> = {}): string {
  const { state = "enabled", flags = "POF", offset = "0" } = change;
  return `${state}\ninterpreter /usr/libexec/qemu-binfmt/x\nflags: ${flags}\noffset ${offset}\nmagic ${magic}\nmask ffffffffffffff00fffffffffffffffffeffffff\n`;
}

const elf = (kind: "32" | "64", order: "le" | "be", number: number) => {
  const at = Buffer.alloc(2);
  if (order === "le") at.writeUInt16LE(number);
  else at.writeUInt16BE(number);
  const type = order === "le" ? "0200" : "0002";
  return `7f454c460${kind === "32" ? 1 : 2}0${order === "le" ? 1 : 2}01000000000000000000${type}${at.toString("hex")}`;
};
const arm = entry(elf("32", "le", 40));
const arm64 = entry(elf("64", "le", 183));
const amd64 = entry(elf("64", "le", 62));

function machine(facts: Partial<MachineFacts>): MachineFacts {
  return {
    nodeArch: "x64",
    kernelMachine: "x86_64",
    cpuFeatures: new Set<string>(),
    armVersion: 0,
    runs32Bit: false,
    binfmt: [],
    pretended: "",
    ...facts,
  };
}

const rows: readonly (readonly [string, Partial<MachineFacts>, string])[] = [
  ["the plainest x86-64", {}, "x86_64/v1"],
  ["x86-64 of level 2", { cpuFeatures: new Set(level2) }, "x86_64/v2 x86_64/v1"],
  ["x86-64 of level 3", { cpuFeatures: new Set(level3) }, "x86_64/v3 x86_64/v2 x86_64/v1"],
  [
    "x86-64 of level 4",
    { cpuFeatures: new Set(level4) },
    "x86_64/v4 x86_64/v3 x86_64/v2 x86_64/v1",
  ],
  [
    "x86-64 with AVX2 that lacks a part of level 2",
    { cpuFeatures: new Set(level3.filter((feature) => feature !== "popcnt")) },
    "x86_64/v1",
  ],
  ["x86-64 with a kernel for 32 bits too", { runs32Bit: true }, "x86_64/v1 i686/"],
  ["64-bit ARM", { nodeArch: "arm64", armVersion: 8 }, "aarch64/v8"],
  [
    "64-bit ARM that has the 32-bit instructions, too",
    { nodeArch: "arm64", armVersion: 8, runs32Bit: true },
    "aarch64/v8 armv7l/v7 armv6l/v6 armv5l/v5",
  ],
  ["ARMv7", { nodeArch: "arm", armVersion: 7 }, "armv7l/v7 armv6l/v6 armv5l/v5"],
  [
    "32-bit programs under a 64-bit kernel",
    { nodeArch: "arm", kernelMachine: "aarch64", armVersion: 8 },
    "armv7l/v7 armv6l/v6 armv5l/v5 aarch64/v8",
  ],
  ["ARMv6", { nodeArch: "arm", kernelMachine: "armv6l", armVersion: 6 }, "armv6l/v6 armv5l/v5"],
  ["32-bit ARM of unknown version", { nodeArch: "arm" }, "armv7l/v7 armv6l/v6 armv5l/v5"],
  ["another architecture", { nodeArch: "riscv64" }, "riscv64/"],
  [
    "x86-64 with emulators",
    { binfmt: [arm, arm64, amd64] },
    "x86_64/v1 aarch64/v8* armv7l/v7* armv6l/v6* armv5l/v5*",
  ],
  [
    "ARM with an emulator of its own kind",
    { nodeArch: "arm", armVersion: 6, binfmt: [arm] },
    "armv6l/v6 armv5l/v5",
  ],
  ["ARM that emulates x86-64", { nodeArch: "arm64", binfmt: [amd64] }, "aarch64/v8 x86_64/v1*"],
  ["one that passes for a Pi", { pretended: "linux/arm/v7", binfmt: [arm64] }, "armv7l/v7"],
  ["one that passes for an older Pi", { pretended: "linux/arm/v6" }, "armv6l/v6"],
  ["one that passes for a server", { pretended: "linux/arm64" }, "aarch64/v8"],
];

describe("agent/exec/containerd/platforms", () => {
  for (const [what, facts, expected] of rows) {
    it(`names those of ${what}, the best first`, () => {
      const found = platformsOf(machine(facts));
      equal(
        found.map((p) => `${p.architecture}/${p.variant}${p.emulated ? "*" : ""}`).join(" "),
        expected,
      );
      ok(found.every(({ os }) => os === "linux"));
    });
  }

  it("refuses to pass for what is no platform", () => {
    throws(() => platformsOf(machine({ pretended: "a/b/c/d" })), /invalid platform/);
  });

  const entries: readonly (readonly [string, string, string | undefined])[] = [
    ["32-bit ARM", arm, "armv7l"],
    ["64-bit ARM", arm64, "aarch64"],
    ["RISC-V", entry(elf("64", "le", 243)), "riscv64"],
    ["POWER", entry(elf("64", "le", 21)), "ppc64le"],
    ["mainframes", entry(elf("64", "be", 22)), "s390x"],
    ["big-endian ARM, which no image is for", entry(elf("32", "be", 40)), undefined],
    ["a switched-off entry", entry(elf("32", "le", 40), { state: "disabled" }), undefined],
    [
      "an emulator that would have to be in the image",
      entry(elf("32", "le", 40), { flags: "PO" }),
      undefined,
    ],
    ["magic elsewhere", entry(elf("32", "le", 40), { offset: "4" }), undefined],
    ["scripts", entry("2321"), undefined],
    ["an extension", "enabled\ninterpreter /usr/bin/jar\nflags: F\nextension .jar\n", undefined],
    ["nothing", "", undefined],
  ];
  for (const [what, text, expected] of entries) {
    it(`finds ${expected ?? "no emulation"} in the entry of ${what}`, () => {
      equal(emulatedBy(text), expected);
    });
  }

  const cpuInfos: readonly (readonly [string, string, number])[] = [
    ["none of x86", "flags\t\t: fpu vme\n", 0],
    ["none of nothing", "", 0],
    ["7 of a Pi 2", "model name\t: ARMv7 Processor rev 5 (v7l)\nCPU architecture: 7\n", 7],
    [
      "6 of a first Pi, which claims 7",
      "processor\t: 0\nmodel name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7\n",
      6,
    ],
    ["8 of a 64-bit system", "processor\t: 0\nCPU architecture: 8\n", 8],
  ];
  for (const [what, text, expected] of cpuInfos) {
    it(`reads ARM version ${what}`, () => {
      deepEqual(armVersionOf(text), expected);
    });
  }
});
