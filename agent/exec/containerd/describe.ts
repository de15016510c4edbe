/**
 * What a node says of itself: host name, platform with variant, CPUs, memory, engine and labels.
 *
 * Pure over facts that `readHostFacts` gathers, so that the table of platforms can be tested for machines at hand and not.
 */
import { readFileSync } from "node:fs";
import { arch, cpus, hostname, totalmem } from "node:os";
import { NodeDescription, Platform } from "../../../src/common/api/generated/api.ts";

/** Facts of the machine the daemon runs on. */
export interface HostFacts {
  readonly hostname: string;
  /** As Node names it: x64, arm64, arm. */
  readonly nodeArch: string;
  /** CPU flags or features of the first core. */
  readonly cpuFeatures: ReadonlySet<string>;
  /** ARM architecture version of the CPU; 0 elsewhere. */
  readonly armVersion: number;
  readonly cpuCount: number;
  readonly memoryBytes: number;
}

/** Engine facts that go into the description. */
export interface EngineFacts {
  readonly version: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Reads the machine's facts. */
export function readHostFacts(): HostFacts {
  const cpuInfo = readTextFile("/proc/cpuinfo");
  const features = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuInfo)?.[1] ?? "";
  return {
    hostname: hostname(),
    nodeArch: arch(),
    cpuFeatures: new Set(features.split(/\s+/).filter((f) => f !== "")),
    armVersion: armVersionOf(cpuInfo),
    cpuCount: Math.max(1, cpus().length),
    memoryBytes: totalmem(),
  };
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

/** The description a node registers with. */
export function describeNode(host: HostFacts, engine: EngineFacts): NodeDescription {
  const platforms = nativePlatforms(host);
  return NodeDescription.create({
    hostname: host.hostname,
    platform: platforms[0],
    platforms,
    resources: {
      nanoCpus: host.cpuCount * 1e9,
      memoryBytes: host.memoryBytes,
      pids: 0,
      generic: [],
    },
    engine: { engineVersion: engine.version, labels: engine.labels, plugins: [] },
  });
}

/** Every platform the CPU runs natively, the best first. */
export function nativePlatforms(host: HostFacts): Platform[] {
  const linux = (architecture: string, variant: string) =>
    Platform.create({ architecture, os: "linux", variant });
  switch (host.nodeArch) {
    case "x64":
      return range(amd64Level(host.cpuFeatures), 1).map((level) => linux("x86_64", `v${level}`));
    case "arm64":
      return [linux("aarch64", "v8")];
    case "arm":
      return range(Math.min(7, host.armVersion || 7), 5).map((v) => linux(`armv${v}l`, `v${v}`));
    default:
      return [linux(host.nodeArch, "")];
  }
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
  return Array.from({ length: from - to + 1 }, (_, i) => from - i);
}

function readTextFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A container without /proc has no CPU features to tell; the baseline platform is then named.
    return "";
  }
}
