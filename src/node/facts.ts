/**
 * Facts of this machine and daemon for `docker info` and `docker version`; read once at start.
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, hostname, machine, release, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readHostFacts } from "../../agent/exec/containerd/describe.ts";
import { platformsOf } from "../../agent/exec/containerd/platforms.ts";
import { Platform } from "../common/api/generated/api.ts";
import type { DaemonFacts } from "../engine/ports.ts";
import type { DaemonConfig } from "./config.ts";

/** Reads everything; makes the installation's id on the first start of a data root. */
export function readDaemonFacts(config: DaemonConfig): DaemonFacts {
  const os = osRelease();
  const platforms = platformsOf(readHostFacts());
  return {
    engineId: engineId(config.dataRoot),
    version: skepVersion(),
    gitCommit: process.env["SKEP_GIT_COMMIT"] ?? "",
    buildTime: "",
    hostname: hostname(),
    kernelVersion: release(),
    operatingSystem: os.get("PRETTY_NAME") ?? "Linux",
    osVersion: os.get("VERSION_ID") ?? "",
    platforms: platforms.map((p) =>
      Platform.create({ ...p, architecture: ociArchitecture(p.architecture) }),
    ),
    machine: machine(),
    cpus: Math.max(1, cpus().length),
    memoryBytes: totalmem(),
    dataDir: config.dataRoot,
    labels: Object.entries(config.engineLabels).map(([key, value]) => `${key}=${value}`),
    debug: config.debug,
    experimental: false,
    liveRestore: true,
    httpProxy: process.env["HTTP_PROXY"] ?? process.env["http_proxy"] ?? "",
    httpsProxy: process.env["HTTPS_PROXY"] ?? process.env["https_proxy"] ?? "",
    noProxy: process.env["NO_PROXY"] ?? process.env["no_proxy"] ?? "",
    insecureRegistries: config.registries.insecure,
    registryMirrors: config.registries.mirrors,
    warnings: [],
  };
}

/** Version of this program, from its package file. */
export function skepVersion(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (let i = 0; i < 5; i++) {
    const path = join(folder, "package.json");
    if (existsSync(path)) {
      const { version } = JSON.parse(readFileSync(path, "utf8")) as { version?: string };
      return version ?? "0.0.0";
    }
    folder = dirname(folder);
  }
  return "0.0.0";
}

function ociArchitecture(architecture: string): string {
  if (architecture === "x86_64") return "amd64";
  if (architecture === "aarch64") return "arm64";
  if (architecture.startsWith("armv")) return "arm";
  return architecture;
}

function engineId(dataRoot: string): string {
  const path = join(dataRoot, "engine-id");
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const id = randomUUID();
  mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
  writeFileSync(path, `${id}\n`, { mode: 0o644 });
  return id;
}

function osRelease(): Map<string, string> {
  const map = new Map<string, string>();
  for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
    if (!existsSync(path)) continue;
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const match = /^([A-Z_]+)=(?:"(.*)"|(.*))$/.exec(line);
      if (match?.[1] !== undefined) map.set(match[1], match[2] ?? match[3] ?? "");
    }
    break;
  }
  return map;
}
