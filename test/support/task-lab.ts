/**
 * A swarm in a playground whose nodes run tasks: with a registry that all of them reach, the test images in it, and commands
 * of the docker client that go on while a test does.
 */
import { spawn } from "node:child_process";
import type { DockerClient } from "./docker.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";
import { follow, type RunningCommand } from "./running-command.ts";
import { SwarmLab } from "./swarm-lab.ts";
import { until } from "./wait.ts";

/** The lab's own address, where the registry is. */
const labAddress = "10.77.0.1";

/** A row of `docker service ps`. */
export interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly desired: string;
  /** Such as `Running 3 seconds ago`. */
  readonly state: string;
  readonly error: string;
}

/** A swarm that runs tasks. */
export class TaskLab {
  readonly swarm: SwarmLab;
  readonly registry: TestRegistry;

  private constructor(swarm: SwarmLab, registry: TestRegistry) {
    this.swarm = swarm;
    this.registry = registry;
  }

  /** Boots the hosts, forms the swarm, starts the registry and pushes the images. */
  static async up(
    name: string,
    nodes: {
      readonly managers: readonly string[];
      readonly workers: readonly string[];
      readonly platforms?: Readonly<Record<string, string>>;
      /** Flags of `swarm init`. */
      readonly init?: readonly string[];
    },
  ): Promise<TaskLab> {
    const all = [...nodes.managers, ...nodes.workers];
    const swarm = await SwarmLab.up(name, all, nodes.platforms);
    try {
      const networkOf = swarm.playground.labPid();
      const registry = await startRegistry({
        host: labAddress,
        port: 5000,
        ...(networkOf === undefined ? {} : { networkOf }),
      });
      try {
        await registry.pushTestImages();
        await swarm.form(nodes.managers, nodes.workers, nodes.init);
        return new TaskLab(swarm, registry);
      } catch (error) {
        await registry.stop();
        throw error;
      }
    } catch (error) {
      await swarm.down();
      throw error;
    }
  }

  async down(): Promise<void> {
    await this.registry.stop();
    await this.swarm.down();
  }

  /** Name of a test image in the registry. */
  image(name = "busybox:1"): string {
    return `${this.registry.address}/${name}`;
  }

  /** Makes a service without waiting for it; `flags` are words, `script` is a line of shell. */
  async create(on: string, name: string, flags: readonly string[], script: string): Promise<void> {
    const words = ["service", "create", "--detach", "--name", name, ...flags];
    await this.swarm.docker(on, [...words, this.image(), "sh", "-c", script]);
  }

  /** The tasks of a service, newest first. */
  async tasks(on: string, service: string): Promise<TaskRow[]> {
    const format =
      "{{.ID}}\t{{.Name}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}";
    const words = ["service", "ps", "--no-trunc", "--format", format, service];
    const text = await this.swarm.docker(on, words);
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [id = "", full = "", node = "", desired = "", state = "", error = ""] =
          line.split("\t");
        return { id, name: full.replace(/^\W*/, ""), node, desired, state, error };
      });
  }

  /** Waits until exactly so many tasks of the service are wanted, and all of them run; resolves with them. */
  async running(on: string, service: string, count: number, withinMs = 60_000): Promise<TaskRow[]> {
    let seen: readonly TaskRow[] = [];
    const isUp = async () => {
      seen = await this.tasks(on, service);
      const wanted = seen.filter(({ desired }) => desired === "Running");
      const isWhole =
        wanted.length === count && wanted.every(({ state }) => state.startsWith("Running"));
      return isWhole ? wanted : undefined;
    };
    try {
      return await until(isUp, { withinMs, everyMs: 200, what: `${count} tasks of ${service}` });
    } catch (error) {
      throw new Error(`${service}: ${JSON.stringify(seen)}`, { cause: error });
    }
  }

  /** Name of the container of a task. */
  containerName({ name, id }: TaskRow): string {
    return `${name}.${id}`;
  }

  /** Starts a command of the client that goes on. */
  start(node: string, args: readonly string[]): RunningCommand {
    return follow(spawn(this.swarm.client.path, args, { env: this.#env(node) }));
  }

  /** Starts a line of shell, in which `$docker` is the client, on a terminal of this size. */
  onTerminal(node: string, size: { rows: number; columns: number }, line: string): RunningCommand {
    const sized = `stty rows ${size.rows} cols ${size.columns} -echo; ${line}`;
    const env = { ...this.#env(node), docker: this.swarm.client.path };
    return follow(spawn("script", ["-qec", sized, "/dev/null"], { env }));
  }

  /** Uses this client from now on. */
  use(client: DockerClient): void {
    this.swarm.client = client;
  }

  #env(node: string): NodeJS.ProcessEnv {
    const { DOCKER_CONTEXT: _context, DOCKER_TLS_VERIFY: _tls, ...env } = process.env;
    return { ...env, DOCKER_HOST: `unix://${this.swarm.playground.node(node).socket}` };
  }
}
