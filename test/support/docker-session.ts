/**
 * A stock docker client at work on one real daemon, in the words of the tests that use it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { RunResult } from "../../src/playground/run.ts";
import { type DockerClient, runDocker } from "./docker.ts";
import type { RealDaemon } from "./real-daemon.ts";
import { follow, type RunningCommand } from "./running-command.ts";

/** One client and one daemon. */
export class DockerSession {
  readonly client: DockerClient;
  readonly daemon: RealDaemon;

  constructor(client: DockerClient, daemon: RealDaemon) {
    this.client = client;
    this.daemon = daemon;
  }

  run(args: readonly string[], input?: string | Uint8Array): Promise<RunResult> {
    return runDocker(this.client, this.daemon.socket, args, input === undefined ? {} : { input });
  }

  /** A command that must succeed: words that are split at spaces, then some that are not. @returns Its output, trimmed. */
  async docker(command: string, ...more: readonly string[]): Promise<string> {
    const args = [...command.split(" "), ...more];
    const { code, stdout, stderr } = await this.run(args);
    assert.equal(code, 0, `docker ${args.join(" ")}: ${stderr}`);
    return stdout.trimEnd();
  }

  /** A command that must fail. */
  async refused(command: string, ...more: readonly string[]): Promise<RunResult> {
    const args = [...command.split(" "), ...more];
    const result = await this.run(args);
    assert.notEqual(result.code, 0, `docker ${args.join(" ")} succeeded: ${result.stdout}`);
    return result;
  }

  /** Output of a shell in a container that is removed after it. */
  sh(flags: string, script: string): Promise<string> {
    const space = flags === "" ? "" : " ";
    return this.docker(`run --rm --network none ${flags}${space}busybox:1 sh -c`, script);
  }

  /** A container that sleeps; resolves with its id. */
  sleeper(name: string, flags = ""): Promise<string> {
    const space = flags === "" ? "" : " ";
    return this.docker(`run -d --network none --name ${name} ${flags}${space}busybox:1 sleep 1000`);
  }

  inspect(name: string, format: string): Promise<string> {
    return this.docker("inspect --format", format, name);
  }

  /** Starts a command that goes on. */
  start(args: readonly string[]): RunningCommand {
    const env = { ...process.env, DOCKER_HOST: `unix://${this.daemon.socket}` };
    return follow(spawn(this.client.path, args, { env }));
  }

  /** Starts a line of shell on a terminal of this size. */
  onTerminal(rows: number, columns: number, line: string): RunningCommand {
    const env = {
      ...process.env,
      DOCKER_HOST: `unix://${this.daemon.socket}`,
      docker: this.client.path,
    };
    const sized = `stty rows ${rows} cols ${columns} -echo; ${line}`;
    return follow(spawn("script", ["-qec", sized, "/dev/null"], { env }));
  }

  /** Removes all containers. */
  async clean(): Promise<void> {
    const ids = await this.docker("ps -aq");
    if (ids !== "") await this.docker("rm -f -v", ...ids.split("\n"));
  }
}
