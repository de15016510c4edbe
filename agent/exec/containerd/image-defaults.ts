/**
 * What a container runs once the image's defaults are filled in, by Docker's rules. Pure.
 */
import { HealthConfig } from "../../../src/common/api/generated/api.ts";
import type { ImageConfig } from "../../../src/common/container/images.ts";
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** What runs, and how. */
export interface Effective {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string;
  /** Undefined where there is no check. */
  readonly health: HealthConfig | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Paths the image wants to be volumes. */
  readonly volumes: readonly string[];
}

const pathDefault = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** @throws ClusterError invalid-argument when nothing is left to run. */
export function withImageDefaults(
  config: ContainerConfig,
  image: ImageConfig,
  hostname: string,
): Effective {
  const args = argsOf(config, image);
  if (args.length === 0) throw new ClusterError("invalid-argument", "no command specified");
  return {
    args,
    env: envOf(config, image, hostname),
    workingDir: workingDirOf(config.workingDir, image.workingDir),
    user: config.user === "" ? image.user : config.user,
    stopSignal: config.stopSignal || image.stopSignal || "SIGTERM",
    health: healthOf(config.health, image.health),
    labels: { ...image.labels, ...config.labels },
    volumes: image.volumes,
  };
}

/** An entrypoint of the user's takes the image's command away; an empty one takes the image's entrypoint away. */
function argsOf(config: ContainerConfig, image: ImageConfig): string[] {
  let entrypoint = config.entrypoint;
  let command = config.command ?? [];
  if (entrypoint === undefined || entrypoint.length === 0) {
    if (command.length === 0) command = image.command;
    entrypoint ??= image.entrypoint;
  }
  if (entrypoint.length === 1 && entrypoint[0] === "") entrypoint = [];
  return [...entrypoint, ...command];
}

function envOf(config: ContainerConfig, image: ImageConfig, hostname: string): string[] {
  const values = new Map<string, string>([
    ["PATH", pathDefault],
    ["HOSTNAME", hostname],
  ]);
  if (config.tty) values.set("TERM", "xterm");
  for (const entry of [...image.env, ...config.env]) {
    const at = entry.indexOf("=");
    if (at < 0) values.delete(entry);
    else values.set(entry.slice(0, at), entry.slice(at + 1));
  }
  return [...values].map(([name, value]) => `${name}=${value}`);
}

function workingDirOf(own: string, image: string): string {
  const path = own === "" ? image : own;
  if (path !== "" && !path.startsWith("/")) {
    throw new ClusterError(
      "invalid-argument",
      `the working directory '${path}' is invalid, it needs to be an absolute path`,
    );
  }
  return path === "" ? "/" : path;
}

/** Fields that are not said are the image's; a test of NONE switches it off. */
function healthOf(
  own: HealthConfig | undefined,
  image: HealthConfig | undefined,
): HealthConfig | undefined {
  const merged =
    own === undefined || image === undefined
      ? (own ?? image)
      : HealthConfig.create({
          test: own.test.length > 0 ? own.test : image.test,
          intervalNs: own.intervalNs || image.intervalNs,
          timeoutNs: own.timeoutNs || image.timeoutNs,
          retries: own.retries || image.retries,
          startPeriodNs: own.startPeriodNs || image.startPeriodNs,
          startIntervalNs: own.startIntervalNs || image.startIntervalNs,
        });
  if (merged === undefined || merged.test.length === 0 || merged.test[0] === "NONE") {
    return undefined;
  }
  return merged;
}
