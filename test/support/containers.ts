/**
 * Containers of a test's own: a containerd, the class over it, and either the real volumes, streams and files or stand-ins
 * that hold only what the test of the containers themselves needs; with those output goes to plain files.
 */
import { setMaxListeners } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import {
  ContainerdContainers,
  type ContainersOptions,
} from "../../agent/exec/containerd/containers.ts";
import { LocalFiles } from "../../agent/exec/containerd/files.ts";
import {
  memoryFolder,
  type NodeFacts,
  readNodeFacts,
} from "../../agent/exec/containerd/node-facts.ts";
import { rootfsOf } from "../../agent/exec/containerd/node-runtime.ts";
import { emptyContainerConfig } from "../../agent/exec/containerd/record.ts";
import { runtimePrograms } from "../../agent/exec/containerd/runtime-programs.ts";
import type {
  ContainerFiles,
  ContainerNetworks,
  ContainerStreams,
  RuntimeCore,
} from "../../agent/exec/containerd/seams.ts";
import { shareFolder, unshareFolder } from "../../agent/exec/containerd/shared-folder.ts";
import { SizedLayers } from "../../agent/exec/containerd/sized-layers.ts";
import { LocalStreams } from "../../agent/exec/containerd/streams.ts";
import { LocalVolumes } from "../../agent/volumes/local-volumes.ts";
import { systemClock } from "../../src/common/clock/clock.ts";
import type { Image } from "../../src/common/container/images.ts";
import type { ContainerConfig } from "../../src/common/container/types.ts";
import type { Volumes } from "../../src/common/container/volumes.ts";
import type { ContainerdClient } from "../../src/common/containerd/client.ts";
import { type Log, newLog, silentLog } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import { imagesOf } from "./busybox-image.ts";
import { TestContainerd } from "./containerd.ts";

const log: Log =
  process.env["SKEP_TEST_LOG"] === undefined
    ? silentLog
    : newLog((line) => process.stderr.write(`${line}\n`), { level: "debug" });

/** Signal for calls that nobody gives up. */
export const patient = new AbortController().signal;
setMaxListeners(0, patient);

/** One node's containers. */
export class TestContainers {
  /** With the real volumes, streams and files. */
  readonly #whole: boolean;
  readonly containerd = new TestContainerd(log);
  readonly images: Image[] = [];
  readonly node: NodeFacts = readNodeFacts();
  readonly instance = basename(this.containerd.dir);
  readonly cgroupParent = `/skep/${this.instance}`;
  /** Folder in memory. */
  readonly memory = memoryFolder(["/run", "/dev/shm"], this.instance) ?? "";
  /** Runtimes that may be used, the one for new containers first. */
  programs = ["runc"];
  networks: ContainerNetworks = noNetworks;
  /** Counts from the next start on. */
  sharedShims = true;
  readonly #layersFolder = join(this.containerd.dir, "layers");
  readonly layers = new SizedLayers(this.#layersFolder);
  /** What its calls to containerd go through. */
  through = (client: ContainerdClient): ContainerdClient => client;
  #stop = new AbortController();
  #running: Promise<void> | undefined;
  #containers: ContainerdContainers | undefined;
  #volumes: LocalVolumes | undefined;

  constructor(o: { whole: boolean } = { whole: false }) {
    this.#whole = o.whole;
  }

  get it(): ContainerdContainers {
    if (this.#containers === undefined) throw new Error("start it first");
    return this.#containers;
  }

  /** The real ones. */
  get volumes(): LocalVolumes {
    if (this.#volumes === undefined) throw new Error("start it first, as a whole");
    return this.#volumes;
  }

  get client() {
    return this.containerd.supervisor().client;
  }

  /** Starts containerd and the class, as the daemon does. */
  async start(): Promise<void> {
    await this.#shareLayers();
    const supervisor = await this.containerd.start();
    this.#stop = new AbortController();
    const folder = join(this.containerd.dir, "containers");
    mkdirSync(folder, { recursive: true });
    this.#containers = new ContainerdContainers({
      client: this.through(supervisor.client),
      ready: () => supervisor.ready(),
      images: imagesOf(this.images),
      ...(this.#whole ? this.#realParts() : standIns(this.containerd.dir)),
      networks: this.networks,
      node: this.node,
      programs: runtimePrograms(
        () => this.programs.map((name) => ({ name, path: name, version: "" })),
        join(this.containerd.dir, "runtime"),
        join(this.containerd.dir, "scripts"),
      ),
      layers: this.layers,
      folder,
      secretsFolder: this.memory,
      cgroupParent: this.cgroupParent,
      sharedShims: this.sharedShims,
      clock: systemClock,
      random: systemRandom,
      log,
    });
    this.#running = this.#containers.run(this.#stop.signal);
    await this.#containers.loaded;
  }

  /** As the daemon does before its containerd has a mount namespace of its own. */
  async #shareLayers(): Promise<void> {
    if (this.node.cgroups.hybridMount === undefined) return;
    mkdirSync(this.#layersFolder, { recursive: true });
    await shareFolder(this.#layersFolder);
  }

  #realParts(): Pick<ContainersOptions, "volumes" | "streams" | "files"> {
    const { client, images, containerd } = this;
    const tools = { clock: systemClock, random: systemRandom, log };
    const state = join(containerd.places.folder, "state");
    this.#volumes = new LocalVolumes(join(containerd.dir, "volumes"), tools);
    return {
      volumes: this.#volumes,
      streams: (core) => new LocalStreams(core, client),
      files: (core) =>
        new LocalFiles(core, {
          client,
          images: imagesOf(images),
          layers: this.layers,
          snapshotKey: (id) => `container-${id}`,
          rootfsOf: (id) => rootfsOf(state, core.get(id), id),
          commit: async () => Promise.reject(new Error("there are no real images here")),
        }),
    };
  }

  /** Stops the class and containerd as the daemon does at its end; containers run on. */
  async stop(): Promise<void> {
    await this.stopClass();
    await this.containerd.stop();
  }

  /** Stops the class alone. */
  async stopClass(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Removes all containers and everything else. */
  async remove(): Promise<void> {
    for (const { id } of this.it.list()) await this.it.remove(id, { force: true, volumes: true });
    await this.stop();
    await unshareFolder(this.#layersFolder);
    await this.containerd.remove();
    rmSync(this.memory, { recursive: true, force: true });
  }

  /** Creates and starts. @returns The id. */
  async run(config: Partial<ContainerConfig>): Promise<string> {
    const { id } = await this.it.create(this.config(config), patient);
    await this.it.start(id, patient);
    return id;
  }

  /** Runs to the end. @returns Exit code and output. */
  async runToEnd(config: Partial<ContainerConfig>): Promise<{ exitCode: number; output: string }> {
    const { id } = await this.it.create(this.config(config), patient);
    const ended = this.it.wait(id, "next-exit", patient);
    await this.it.start(id, patient);
    const { exitCode } = await ended;
    const output = this.output(id);
    await this.it.remove(id, { force: false, volumes: true });
    return { exitCode, output };
  }

  config(config: Partial<ContainerConfig>): ContainerConfig {
    const image = this.images[0]?.tags[0] ?? "";
    return { ...emptyContainerConfig, image, networks: ["none"], ...config };
  }

  output(id: string): string {
    return readFileSync(join(this.containerd.dir, "containers", id, "stdout"), "utf8");
  }
}

function standIns(dir: string): Pick<ContainersOptions, "volumes" | "streams" | "files"> {
  return { volumes: folderVolumes(join(dir, "volumes")), streams: fileStreams, files: noFiles };
}

/** Streams that only write output into a file. */
function fileStreams(core: RuntimeCore): ContainerStreams {
  const streams: Partial<ContainerStreams> = {
    checkLogDriver: () => undefined,
    logPathOf: () => "",
    prepare: async ({ id }) => {
      const path = join(core.folderOf(id), "stdout");
      writeFileSync(path, "", { flag: "a" });
      return { stdin: "", stdout: path, stderr: path, terminal: false };
    },
    started: () => undefined,
    adopted: async () => undefined,
    stopped: async () => undefined,
    removed: async () => undefined,
    execExited: () => undefined,
    close: async () => undefined,
  };
  return streams as ContainerStreams;
}

function noFiles(): ContainerFiles {
  return { copyUp: async () => undefined } as unknown as ContainerFiles;
}

/** Containers have a loopback device alone. */
export const noNetworks: ContainerNetworks = {
  check: () => undefined,
  fileOf: () => undefined,
  join: async () => ({ path: undefined, hosts: [], nameserver: undefined }),
  adopted: async () => undefined,
  leave: async () => undefined,
};

/** Volumes that are plain folders. */
function folderVolumes(folder: string): Volumes {
  const users = new Map<string, Set<string>>();
  const all = () => (existsSync(folder) ? readdirSync(folder) : []);
  const find = (name: string) => ({
    name,
    driver: "local",
    createdAtMs: 0,
    labels: {},
    options: {},
    mountpoint: join(folder, name),
    anonymous: name.startsWith("anonymous-"),
  });
  const volumes: Partial<Volumes> = {
    list: () => all().map(find),
    find,
    create: async ({ name }) => {
      const chosen = name === "" ? `anonymous-${systemRandom.int(2 ** 31)}` : name;
      mkdirSync(join(folder, chosen), { recursive: true });
      return find(chosen);
    },
    remove: async (name) => rmSync(join(folder, name), { recursive: true }),
    acquire: async (name, id) => {
      users.set(name, new Set([...(users.get(name) ?? []), id]));
      return join(folder, name);
    },
    release: async (name, id) => {
      users.get(name)?.delete(id);
    },
    usersOf: (name) => [...(users.get(name) ?? [])],
  };
  return volumes as Volumes;
}
