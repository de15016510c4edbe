/**
 * The stock docker clients the end-to-end tests drive us with: Debian's 20.10, which `scripts/setup` unpacks, and the one
 * on the PATH where there is one.
 */
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type RunOptions, type RunResult, run } from "../../src/playground/run.ts";

/** A docker client and where it lies. */
export interface DockerClient {
  /** `debian-20.10` or `path`; names the client in test titles. */
  readonly name: string;
  readonly path: string;
}

/** Every docker client of this machine; the first is the one the project brings itself. */
export function dockerClients(): DockerClient[] {
  const clients: DockerClient[] = [];
  const own = "build/tools/docker-20.10/docker";
  if (existsSync(own)) clients.push({ name: "debian-20.10", path: own });
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, "docker");
    if (folder === "" || !isExecutable(path)) continue;
    clients.push({ name: "path", path });
    break;
  }
  return clients;
}

/**
 * The client tests use when it does not matter which.
 *
 * @throws Error when there is none: `scripts/setup` brings one.
 */
export function dockerClient(): DockerClient {
  const client = dockerClients()[0];
  if (client === undefined) throw new Error("no docker client: run scripts/setup");
  return client;
}

/** Runs `docker args…` against the daemon at the unix socket `socket`; never rejects for a failing command. */
export function runDocker(
  client: DockerClient,
  socket: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const { DOCKER_CONTEXT: _context, DOCKER_TLS_VERIFY: _tls, ...env } = options.env ?? process.env;
  return run([client.path, ...args], {
    ...options,
    env: { ...env, DOCKER_HOST: `unix://${socket}` },
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Not there, or not a program: the next folder of the PATH may have it.
    return false;
  }
}
