/**
 * What a node says of itself: host name, platforms, CPUs, memory, engine, labels, generic resources, plugins, warnings.
 *
 * Pure over facts that `readHostFacts` gathers, so that machines can be tested that are not at hand.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { arch, cpus, hostname, machine, totalmem } from "node:os";
import { join } from "node:path";
import {
  type GenericResource,
  NodeDescription,
  Plugin,
} from "../../../src/common/api/generated/api.ts";
import { nodeVolumesBytesMax } from "../../../src/common/limits/limits.ts";
import { armVersionOf, type MachineFacts, platformsOf } from "./platforms.ts";

/** Facts of the machine the daemon runs on. */
export interface HostFacts extends MachineFacts {
  readonly hostname: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
}

/** Engine facts that go into the description. */
export interface EngineFacts {
  readonly version: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What the operator says there is beside CPU and memory. */
  readonly generic: readonly GenericResource[];
  /** What does not work on the node, with what helps. */
  readonly warnings: readonly string[];
  /** Volumes with names of their own. */
  readonly localVolumes?: readonly string[];
  /** Empty on a node that cannot encrypt. */
  readonly wireguardPublicKey?: Uint8Array;
  /** The key that will follow; empty unless it is about to change. */
  readonly nextWireguardPublicKey?: Uint8Array;
}

/** What services may ask for by name, as Docker lists it; the scheduler's plugin filter goes by it. */
const plugins: readonly (readonly [type: string, name: string])[] = [
  ["Log", "json-file"],
  ["Log", "none"],
  ["Network", "bridge"],
  ["Network", "host"],
  ["Network", "null"],
  ["Network", "overlay"],
  ["Volume", "local"],
];

/** Where the kernel lists what it hands to interpreters. */
const binfmtFolder = "/proc/sys/fs/binfmt_misc";

/** Reads the machine's facts. */
export function readHostFacts(): HostFacts {
  const cpuInfo = readTextFile("/proc/cpuinfo");
  const features = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuInfo)?.[1] ?? "";
  return {
    hostname: hostname(),
    nodeArch: arch(),
    kernelMachine: machine(),
    cpuFeatures: new Set(features.split(/\s+/).filter((f) => f !== "")),
    armVersion: armVersionOf(cpuInfo),
    runs32Bit: runs32Bit(),
    binfmt: readBinfmt(),
    pretended: process.env["SKEP_PLATFORM"] ?? "",
    cpuCount: Math.max(1, cpus().length),
    memoryBytes: totalmem(),
  };
}

/** The description a node registers with. @throws ClusterError invalid-argument for a platform that cannot be one. */
export function describeNode(host: HostFacts, engine: EngineFacts): NodeDescription {
  const platforms = platformsOf(host);
  return NodeDescription.create({
    hostname: host.hostname,
    platform: platforms[0],
    platforms,
    resources: {
      nanoCpus: host.cpuCount * 1e9,
      memoryBytes: host.memoryBytes,
      pids: 0,
      generic: engine.generic,
    },
    engine: {
      engineVersion: engine.version,
      labels: engine.labels,
      plugins: plugins.map(([type, name]) => Plugin.create({ type, name })),
    },
    warnings: engine.warnings,
    localVolumes: shortened(engine.localVolumes ?? []),
    wireguardPublicKey: engine.wireguardPublicKey ?? new Uint8Array(0),
    nextWireguardPublicKey: engine.nextWireguardPublicKey ?? new Uint8Array(0),
  });
}

/** Sorted, and as many as a description has room for. */
function shortened(names: readonly string[]): string[] {
  let bytes = 0;
  return [...names].sort().filter((name) => {
    bytes += Buffer.byteLength(name) + 2;
    return bytes <= nodeVolumesBytesMax;
  });
}

let knownRuns32Bit: boolean | undefined;

/** Whether kernel and CPU run programs of the 32-bit sister architecture; asked once, as it cannot change. */
function runs32Bit(): boolean {
  if (knownRuns32Bit !== undefined) return knownRuns32Bit;
  if (arch() === "x64") knownRuns32Bit = existsSync("/proc/sys/abi/vsyscall32");
  // The kernel refuses this personality exactly where 32-bit programs cannot run.
  else if (arch() === "arm64")
    knownRuns32Bit = spawnSync("setarch", ["linux32", "true"]).status === 0;
  else knownRuns32Bit = false;
  return knownRuns32Bit;
}

/** Entries of binfmt_misc, which may come and go while the daemon runs. */
export function readBinfmt(): string[] {
  try {
    return readdirSync(binfmtFolder)
      .filter((name) => name !== "register" && name !== "status")
      .sort()
      .map((name) => readTextFile(join(binfmtFolder, name)));
  } catch {
    // Not mounted, or not in this kernel: nothing is emulated.
    return [];
  }
}

function readTextFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A container without /proc has no CPU features to tell; the baseline platform is then named.
    return "";
  }
}
