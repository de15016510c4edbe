/**
 * A runtime of a node in memory: containers that run nothing but give back what they are sent, for tests of the HTTP API.
 *
 * A container's program and every process in it is an echo: its output is its input, and it ends with it. What tests want
 * to see of calls is kept in `calls`.
 */
import type { LocalNetworks } from "../../agent/network/local/local-networks.ts";
import type {
  Attachment,
  AttachOptions,
  CommitOptions,
  ContainerEvent,
  ContainerExit,
  ContainerStats,
  Containers,
  ContainerUpdate,
  ExecConfig,
  ExecProcess,
  FileChange,
  LogOptions,
  LogRecord,
  OutputChunk,
} from "../../src/common/container/containers.ts";
import type { DataPath, NodeLook } from "../../src/common/container/data-path.ts";
import type { Runtime } from "../../src/common/container/runtime.ts";
import type {
  Container,
  ContainerConfig,
  ContainerState,
} from "../../src/common/container/types.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { FakeImages } from "./fake-images.ts";
import { FakeVolumes } from "./fake-volumes.ts";
import { fakeHost, networksOn } from "./local-networks.ts";
import { noRuntimeFacts } from "./no-runtime.ts";

/** A source of values that is fed by hand. */
export class Feed<T> {
  readonly #waiting: T[] = [];
  #wake: () => void = () => {};
  #ended = false;

  push(value: T): void {
    this.#waiting.push(value);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *values(signal?: AbortSignal): AsyncIterable<T> {
    signal?.addEventListener("abort", () => this.end(), { once: true });
    for (;;) {
      yield* this.#waiting.splice(0);
      // What came while that was handed out.
      if (this.#waiting.length > 0) continue;
      if (this.#ended || signal?.aborted === true) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const stopped: ContainerState = {
  phase: "created",
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: "",
  startedAtMs: 0,
  finishedAtMs: 0,
  restartCount: 0,
  health: { status: "none", failingStreak: 0, probes: [] },
};

interface Box {
  container: Container;
  readonly echoes: Set<Feed<OutputChunk>>;
  waiters: { condition: string; resolve: (exit: ContainerExit) => void }[];
}

/** Containers in memory; parts a test does not need refuse. */
export class FakeContainers implements Containers {
  readonly calls: string[] = [];
  /** What `logs` gives. */
  readonly records: LogRecord[] = [];
  readonly #boxes = new Map<string, Box>();
  readonly #execs = new Map<string, ExecProcess>();
  readonly #images: FakeImages;
  readonly #feeds = new Set<Feed<ContainerEvent>>();
  #next = 1;

  constructor(images: FakeImages) {
    this.#images = images;
  }

  list(): readonly Container[] {
    return [...this.#boxes.values()].map(({ container }) => container);
  }

  find(reference: string): Container {
    return this.#box(reference).container;
  }

  async create(config: ContainerConfig): Promise<{ id: string; warnings: readonly string[] }> {
    const image = await this.#images.find(config.image);
    const holder = this.list().find(({ name }) => name === config.name);
    if (holder !== undefined) {
      throw new ClusterError(
        "already-exists",
        `Conflict. The container name "/${config.name}" is already in use by container "${holder.id}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    const id = (this.#next++).toString(16).padStart(2, "0").repeat(32);
    const container: Container = {
      id,
      name: config.name || `made_up_${id.slice(0, 2)}`,
      createdAtMs: 1_700_000_000_000 + this.#next,
      config,
      imageId: image.id,
      imagePlatform: image.platform,
      args: [
        ...(config.entrypoint ?? image.config.entrypoint),
        ...(config.command ?? image.config.command),
      ],
      env: [...image.config.env, ...config.env],
      workingDir: config.workingDir,
      user: config.user,
      stopSignal: config.stopSignal,
      health: config.health,
      labels: config.labels,
      mounts: [],
      runtime: "runc",
      logPath: "",
      state: stopped,
    };
    this.#boxes.set(id, { container, echoes: new Set(), waiters: [] });
    this.#tell("create", container);
    return { id, warnings: [] };
  }

  async start(reference: string): Promise<void> {
    this.#set(reference, { phase: "running", pid: 42, startedAtMs: Date.now(), exitCode: 0 });
    this.#tell("start", this.find(reference));
  }

  async stop(reference: string): Promise<void> {
    this.#end(this.#box(reference), 143);
  }

  async restart(reference: string): Promise<void> {
    await this.start(reference);
  }

  async kill(reference: string, signal: string): Promise<void> {
    this.calls.push(`kill ${signal}`);
    this.#end(this.#box(reference), 137);
  }

  async pause(reference: string): Promise<void> {
    this.#set(reference, { phase: "paused" });
  }

  async unpause(reference: string): Promise<void> {
    this.#set(reference, { phase: "running" });
  }

  wait(reference: string, condition: string, signal: AbortSignal): Promise<ContainerExit> {
    const box = this.#box(reference);
    const { phase, exitCode } = box.container.state;
    if (condition === "not-running" && phase !== "running")
      return Promise.resolve({ exitCode, error: "" });
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      box.waiters.push({ condition, resolve });
    });
  }

  async remove(reference: string, o: { force: boolean }): Promise<void> {
    const box = this.#box(reference);
    if (box.container.state.phase === "running") {
      if (!o.force)
        throw new ClusterError(
          "failed-precondition",
          `cannot remove container "/${box.container.name}": container is running: stop the container before removing or force remove`,
        );
      this.#end(box, 137);
    }
    this.#boxes.delete(box.container.id);
    this.#tell("destroy", box.container);
    for (const { resolve } of box.waiters) resolve({ exitCode: 137, error: "" });
  }

  async rename(reference: string, name: string): Promise<void> {
    const box = this.#box(reference);
    box.container = { ...box.container, name };
  }

  async update(reference: string, change: ContainerUpdate): Promise<readonly string[]> {
    const box = this.#box(reference);
    const { config } = box.container;
    const changed = {
      ...config,
      resources: change.resources ?? config.resources,
      extraLimits: change.extraLimits ?? config.extraLimits,
      restartPolicy: change.restartPolicy ?? config.restartPolicy,
    };
    box.container = { ...box.container, config: changed };
    return [];
  }

  async resize(_: string, size: { width: number; height: number }): Promise<void> {
    this.calls.push(`resize ${size.width}x${size.height}`);
  }

  async attach(reference: string, options: AttachOptions): Promise<Attachment> {
    const box = this.#box(reference);
    return this.#echo(box, box.container.config.tty, options.signal);
  }

  async *logs(_: string, options: LogOptions): AsyncIterable<LogRecord> {
    const { tail, sinceNs = 0n } = options;
    const records = this.records.filter(
      (record) => record.timeNs >= sinceNs && options[record.stream],
    );
    yield* tail === undefined ? records : records.slice(records.length - tail);
  }

  async createExec(reference: string, config: ExecConfig): Promise<string> {
    const id = `e${this.#next++}`.padEnd(64, "0");
    const containerId = this.find(reference).id;
    this.#execs.set(id, { id, containerId, config, running: false, pid: 0, exitCode: undefined });
    return id;
  }

  findExec(id: string): ExecProcess {
    const process = this.#execs.get(id);
    if (process === undefined) throw new ClusterError("not-found", `No such exec instance: ${id}`);
    return process;
  }

  execsOf(): readonly string[] {
    return [];
  }

  async startExec(id: string, o: { detach: boolean }): Promise<Attachment | undefined> {
    const process = this.findExec(id);
    if (process.config.command[0] === "missing") {
      this.#execs.set(id, { ...process, exitCode: 127 });
      throw new ClusterError("invalid-argument", "executable file not found in $PATH");
    }
    this.#execs.set(id, { ...process, running: true, pid: 43 });
    if (o.detach) return undefined;
    const box = this.#box(process.containerId);
    const ended = () => this.#execs.set(id, { ...process, running: false, exitCode: 7 });
    return this.#echo(box, process.config.tty, undefined, ended);
  }

  async resizeExec(): Promise<void> {}

  async stats(): Promise<ContainerStats> {
    throw new ClusterError("unimplemented", "no stats");
  }

  async top(_: string, psArguments: string) {
    return { titles: ["PID", "CMD"], processes: [["42", psArguments]] };
  }

  async statPath(_: string, path: string) {
    if (path.includes("missing"))
      throw new ClusterError("not-found", `Could not find the file ${path} in container`);
    return { name: "file", sizeBytes: 4, mode: 0o644, mtimeMs: 1_700_000_000_000, linkTarget: "" };
  }

  async getArchive(reference: string, path: string) {
    return { stat: await this.statPath(reference, path), tar: pieces("an archive") };
  }

  async putArchive(reference: string, path: string, tar: AsyncIterable<Uint8Array>): Promise<void> {
    await this.statPath(reference, path);
    let bytes = 0;
    for await (const piece of tar) bytes += piece.length;
    this.calls.push(`put ${bytes}`);
  }

  async changes(): Promise<readonly FileChange[]> {
    return [
      { kind: "modified", path: "/a" },
      { kind: "added", path: "/b" },
      { kind: "deleted", path: "/c" },
    ];
  }

  async exportTar(): Promise<AsyncIterable<Uint8Array>> {
    return pieces("an export");
  }

  async commit(_: string, options: CommitOptions): Promise<string> {
    return this.#images.add(`${options.repository}:${options.tag}`).id;
  }

  async sizes() {
    return { ownBytes: 10, rootBytes: 1000 };
  }

  async *events(signal: AbortSignal): AsyncIterable<ContainerEvent> {
    const feed = new Feed<ContainerEvent>();
    this.#feeds.add(feed);
    try {
      yield* feed.values(signal);
    } finally {
      this.#feeds.delete(feed);
    }
  }

  /** Tells those who listen that something happened to a container. */
  tell(reference: string, action: string): void {
    this.#tell(action, this.find(reference));
  }

  #tell(action: string, container: Container): void {
    const timeNs = BigInt(Date.now()) * 1_000_000n;
    for (const feed of this.#feeds) feed.push({ timeNs, action, container, attributes: {} });
  }

  #box(reference: string): Box {
    const found = [...this.#boxes.values()].find(
      ({ container: { id, name } }) => id.startsWith(reference) || name === reference,
    );
    if (found === undefined || reference === "")
      throw new ClusterError("not-found", `No such container: ${reference}`);
    return found;
  }

  #set(reference: string, state: Partial<ContainerState>): void {
    const box = this.#box(reference);
    box.container = { ...box.container, state: { ...box.container.state, ...state } };
  }

  #end(box: Box, exitCode: number): void {
    const { id } = box.container;
    this.#set(id, { phase: "exited", pid: 0, exitCode, finishedAtMs: Date.now() });
    for (const echo of box.echoes) echo.end();
    const done = box.waiters.filter(({ condition }) => condition !== "removed");
    box.waiters = box.waiters.filter(({ condition }) => condition === "removed");
    for (const { resolve } of done) resolve({ exitCode, error: "" });
    this.#tell("die", this.find(id));
  }

  #echo(box: Box, tty: boolean, signal?: AbortSignal, ended?: () => void): Attachment {
    const feed = new Feed<OutputChunk>();
    box.echoes.add(feed);
    const end = () => {
      box.echoes.delete(feed);
      feed.end();
      ended?.();
    };
    return {
      tty,
      output: feed.values(signal),
      write: async (data) => feed.push({ stream: "stdout", data }),
      closeStdin: async () => end(),
      close: end,
    };
  }
}

/** Bytes of a text, in two pieces. */
export async function* pieces(text: string): AsyncIterable<Uint8Array> {
  const bytes = Buffer.from(text);
  yield bytes.subarray(0, 3);
  yield bytes.subarray(3);
}

/** A runtime in memory with one image, `busybox:latest`. */
export interface FakeRuntime extends Runtime {
  readonly containers: FakeContainers;
  readonly images: FakeImages;
  readonly volumes: FakeVolumes;
  readonly networks: LocalNetworks;
  dataPath: DataPath;
}

/** What a node looks like that has nothing to do with networks. */
export const plainLook: NodeLook = {
  knowsCluster: true,
  trouble: "",
  compared: 0,
  differences: [],
  told: [],
  ledTo: [],
  listens: [],
  programs: [],
  barriers: [],
  foreign: [],
  tunnels: [],
  names: [],
  probes: [],
};

/** A fresh one. */
export function fakeRuntime(): FakeRuntime {
  const images = new FakeImages();
  images.add("busybox:latest");
  const program = { name: "runc", path: "/usr/sbin/runc", version: "1.1.5" };
  return {
    containers: new FakeContainers(images),
    images,
    volumes: new FakeVolumes(),
    networks: networksOn(fakeHost()),
    dataPath: { look: async () => plainLook, programsAt: async () => [] },
    facts: () => ({ ...noRuntimeFacts, containerdVersion: "1.6.20", programs: [program] }),
  };
}
