/**
 * Every platform a machine can run, the best first: what its processor and kernel do natively, then what binfmt_misc hands
 * to an emulator. Pure.
 *
 * Architectures are in the words of `uname -m`, as Docker shows them; `src/common/platform` understands them.
 */
import { Platform } from "../../../src/common/api/generated/api.ts";
import { parsePlatform } from "../../../src/common/platform/match.ts";

/** Facts of a machine that its platforms follow from. */
export interface MachineFacts {
  /** Of this program, as Node names it: x64, arm64, arm. */
  readonly nodeArch: string;
  /** Of the kernel, as `uname -m` says: x86_64, aarch64, armv7l. */
  readonly kernelMachine: string;
  /** CPU flags or features of the first core. */
  readonly cpuFeatures: ReadonlySet<string>;
  /** ARM architecture version of the CPU, by its name; 0 elsewhere. */
  readonly armVersion: number;
  /** Programs of the 32-bit sister architecture run too. */
  readonly runs32Bit: boolean;
  /** Texts of the entries of binfmt_misc. */
  readonly binfmt: readonly string[];
  /** `os/architecture[/variant]` the node is to pass for instead; empty for what it is. */
  readonly pretended: string;
}

/** All platforms; emulated ones are marked. */
export function platformsOf(machine: MachineFacts): Platform[] {
  if (machine.pretended !== "") return [pretendedPlatform(machine.pretended)];
  const native = nativePlatforms(machine);
  const known = new Set(native.map(({ architecture }) => familyOf(architecture)));
  const emulated = machine.binfmt.flatMap((text) => emulatedBy(text) ?? []);
  const others = [...new Set(emulated)].filter((architecture) => {
    const family = familyOf(architecture);
    return !known.has(family);
  });
  return [...native, ...others.sort().flatMap((one) => levelsEmulated(one))];
}

/** Every platform that runs without emulation, the best first. */
export function nativePlatforms(machine: MachineFacts): Platform[] {
  switch (machine.nodeArch) {
    case "x64":
      return [
        ...range(amd64Level(machine.cpuFeatures), 1).map((n) => linux("x86_64", `v${n}`)),
        ...(machine.runs32Bit ? [linux("i686", "")] : []),
      ];
    case "arm64":
      return [linux("aarch64", "v8"), ...(machine.runs32Bit ? arm32(7) : [])];
    case "arm":
      // Its own programs are of 32 bits; a kernel of 64 bits runs those of 64 as well.
      return [
        ...arm32(Math.min(7, machine.armVersion || 7)),
        ...(machine.kernelMachine === "aarch64" ? [linux("aarch64", "v8")] : []),
      ];
    default:
      return [linux(machine.nodeArch, "")];
  }
}

/**
 * Version of the ARM architecture by the text of `/proc/cpuinfo`; 0 where it is not ARM.
 *
 * The model's name goes first: the ARMv6 cores of the first Raspberry Pis claim to be of architecture 7.
 */
export function armVersionOf(cpuInfo: string): number {
  const byName = /^(?:model name|Processor)\s*:.*\(v(\d+)l\)/im.exec(cpuInfo)?.[1];
  return Number(byName ?? /^CPU architecture\s*:\s*(\d+)/m.exec(cpuInfo)?.[1] ?? 0);
}

/** ELF machine numbers of what emulators are registered for, little-endian unless said. */
const elfMachines: Readonly<Record<number, string>> = {
  3: "i686",
  40: "armv7l",
  62: "x86_64",
  183: "aarch64",
  243: "riscv64",
  258: "loongarch64",
};
const elfMachinesBig: Readonly<Record<number, string>> = { 22: "s390x" };
const elfMachinesPower: Readonly<Record<number, string>> = { 21: "ppc64le" };

/**
 * Architecture whose programs an entry of binfmt_misc hands to an emulator; undefined for other entries, and for those
 * that do not work inside containers: without the flag F the emulator would have to be in the image.
 */
export function emulatedBy(text: string): string | undefined {
  const lines = text.split("\n");
  const value = (name: string) =>
    lines
      .find((line) => line.startsWith(`${name} `) || line.startsWith(`${name}:`))
      ?.slice(name.length + 1);
  if (lines[0] !== "enabled" || value("flags")?.includes("F") !== true) return undefined;
  if (value("offset")?.trim() !== "0") return undefined;
  const magic = Buffer.from(value("magic")?.trim() ?? "", "hex");
  if (magic.length < 20 || magic.subarray(0, 4).toString("latin1") !== "\x7fELF") return undefined;
  const isBig = magic[5] === 2;
  const isLong = magic[4] === 2;
  const number = isBig ? magic.readUInt16BE(18) : magic.readUInt16LE(18);
  if (isBig) return isLong ? elfMachinesBig[number] : undefined;
  const is32Bit = number === 3 || number === 40;
  if (isLong === is32Bit) return undefined;
  return elfMachines[number] ?? elfMachinesPower[number];
}

/** The one platform a node passes for, in the words of `uname -m`. @throws ClusterError invalid-argument */
function pretendedPlatform(text: string): Platform {
  const { os, architecture, variant } = parsePlatform(text);
  return Platform.create({ os, architecture: machineWord(architecture, variant), variant });
}

function machineWord(architecture: string, variant: string): string {
  switch (architecture) {
    case "amd64":
      return "x86_64";
    case "arm64":
      return "aarch64";
    case "386":
      return "i686";
    case "arm":
      return `armv${/^v([567])/.exec(variant)?.[1] ?? "7"}l`;
    default:
      return architecture;
  }
}

function familyOf(architecture: string): string {
  return architecture.startsWith("armv") ? "arm" : architecture;
}

/** What an emulator gives: qemu's 32-bit ARM is of version 7, its x86-64 is sure of the first level only. */
function levelsEmulated(architecture: string): Platform[] {
  const marked = (platforms: Platform[]) => platforms.map((p) => ({ ...p, emulated: true }));
  switch (architecture) {
    case "armv7l":
      return marked(arm32(7));
    case "x86_64":
      return marked([linux("x86_64", "v1")]);
    case "aarch64":
      return marked([linux("aarch64", "v8")]);
    default:
      return marked([linux(architecture, "")]);
  }
}

function linux(architecture: string, variant: string): Platform {
  return Platform.create({ architecture, os: "linux", variant });
}

function arm32(version: number): Platform[] {
  return range(version, 5).map((v) => linux(`armv${v}l`, `v${v}`));
}

/** Micro-architecture level of the x86-64 psABI. */
function amd64Level(features: ReadonlySet<string>): number {
  const has = (...names: string[]) => names.every((name) => features.has(name));
  if (!has("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")) return 1;
  if (!has("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")) return 2;
  if (!has("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")) return 3;
  return 4;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, from - to + 1) }, (_, i) => from - i);
}
