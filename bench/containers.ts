/**
 * Measures how long a container takes from its creation to its start, beside `ctr run -d` on the same containerd in
 * alternation, and how long 50 take together.
 *
 * Ours is what `docker run -d` and the executor of tasks do once the image is here: image look-up, record, file system, log,
 * user look-up, seccomp filter, shim and program. `ctr` starts the same image and program by runc, without a seccomp filter
 * and without output. Removals are not timed. What is left of the machine's other work shows in both.
 */
import { execFile } from "node:child_process";
import { setMaxListeners } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { pack } from "tar-stream";
import { NodeRuntime } from "../agent/exec/containerd/node-runtime.ts";
import { emptyContainerConfig } from "../agent/exec/containerd/record.ts";
import { NetworkState } from "../agent/network/state.ts";
import { Platform } from "../src/common/api/generated/api.ts";
import { systemClock } from "../src/common/clock/clock.ts";
import type { ContainerConfig } from "../src/common/container/types.ts";
import { silentLog } from "../src/common/log/log.ts";
import { systemRandom } from "../src/common/random/random.ts";
import { Registry } from "../src/common/registry/registry.ts";
import { defaultTrustFolders } from "../src/common/registry/trust.ts";
import { attachmentsThrough } from "../src/node/attachments.ts";
import type { BenchOptions, BenchResult } from "./main.ts";
import { median } from "./median.ts";

const execute = promisify(execFile);
const never = new AbortController().signal;
setMaxListeners(0, never);
const image = "bench:1";
const program = ["/bin/sleep", "1000"];
/** Namespace of containerd for `ctr`: what is in ours and not of ours is removed. */
const ctrNamespace = "bench";

/** Runs the measurement. */
export async function run({ quick }: BenchOptions): Promise<BenchResult> {
  const dir = mkdtempSync(join(tmpdir(), "skep-bench-"));
  const stop = new AbortController();
  const runtime = await openRuntime(dir);
  const running = runtime.run(stop.signal);
  try {
    await runtime.loaded;
    await importImage(runtime);
    const ctr = await openCtr(runtime, dir);
    const pairs = await measurePairs(runtime, ctr, quick ? 3 : 20);
    const many = await measureMany(runtime, ctr, quick ? 6 : 50);
    return { ...pairs, ...many, ...memory(dir) };
  } finally {
    for (const { id } of runtime.containers.list()) await remove(runtime, id);
    stop.abort();
    await running;
    rmSync(dir, { recursive: true, force: true });
  }
}

function openRuntime(dir: string): Promise<NodeRuntime> {
  const tools = { clock: systemClock, random: systemRandom, log: silentLog };
  return NodeRuntime.open({
    ...tools,
    dataRoot: dir,
    execRoot: dir,
    instance: dir.slice(-6),
    cgroupParent: `/skep/${dir.slice(-6)}`,
    engineId: dir,
    cluster: new NetworkState(tools),
    attachments: attachmentsThrough(() => undefined),
    defaultAddressPools: [],
    bridgeShortcuts: true,
    sharedShims: true,
    hasBridge: true,
    socketPath: join(dir, "c.sock"),
    runtime: process.env["SKEP_BENCH_RUNTIME"] ?? "",
    registry: new Registry({
      settings: { insecure: [], mirrors: [] },
      trust: defaultTrustFolders(),
      environment: {},
      clock: systemClock,
    }),
    platforms: () => [Platform.create({ architecture: goArch(), os: "linux" })],
  });
}

function goArch(): string {
  return { x64: "amd64", arm: "arm" }[process.arch as string] ?? process.arch;
}

/** An image of nothing but busybox. */
async function importImage(runtime: NodeRuntime): Promise<void> {
  const tar = pack();
  tar.entry({ name: "bin/busybox", mode: 0o755 }, readFileSync("/bin/busybox"));
  tar.entry({ name: "bin/sleep", type: "symlink", linkname: "busybox" });
  tar.entry({ name: "etc/passwd" }, "root:x:0:0::/root:\n");
  tar.finalize();
  const [repository = "", tag = ""] = image.split(":");
  await runtime.images.importTar(tar as AsyncIterable<Uint8Array>, {
    repository,
    tag,
    message: "",
    changes: [],
    platform: undefined,
  });
}

/** `ctr` on the same containerd; gives what runs it with these words. */
async function openCtr(runtime: NodeRuntime, dir: string): Promise<Ctr> {
  const ctr = (...words: string[]) =>
    execute("ctr", ["-a", join(dir, "c.sock"), "-n", ctrNamespace, ...words]);
  const file = join(dir, "image.tar");
  const chunks: Uint8Array[] = [];
  for await (const chunk of await runtime.images.save([image])) chunks.push(chunk);
  writeFileSync(file, Buffer.concat(chunks));
  await ctr("images", "import", file);
  const { stdout } = await ctr("images", "list", "-q");
  const name = stdout.trim().split("\n")[0] ?? "";
  return {
    start: async (id) => {
      await ctr("run", "-d", name, id, ...program);
    },
    remove: async (id) => {
      await ctr("task", "delete", "--force", id);
      await ctr("container", "delete", id);
    },
  };
}

interface Ctr {
  readonly start: (id: string) => Promise<void>;
  readonly remove: (id: string) => Promise<void>;
}

async function start(runtime: NodeRuntime): Promise<string> {
  const config: ContainerConfig = {
    ...emptyContainerConfig,
    image,
    command: program,
    networks: ["none"],
  };
  const { id } = await runtime.containers.create(config, never);
  await runtime.containers.start(id, never);
  return id;
}

function remove(runtime: NodeRuntime, id: string): Promise<void> {
  return runtime.containers.remove(id, { force: true, volumes: true });
}

async function measurePairs(runtime: NodeRuntime, ctr: Ctr, pairs: number): Promise<BenchResult> {
  const ours: number[] = [];
  const theirs: number[] = [];
  // The first of each kind pays for what the later ones find in caches.
  for (let pair = -1; pair < pairs; pair++) {
    const began = performance.now();
    const id = await start(runtime);
    const started = performance.now();
    await remove(runtime, id);
    const ctrBegan = performance.now();
    await ctr.start(`one${pair + 1}`);
    const ctrStarted = performance.now();
    await ctr.remove(`one${pair + 1}`);
    if (pair < 0) continue;
    ours.push(started - began);
    theirs.push(ctrStarted - ctrBegan);
  }
  return {
    container_start_ms: median(ours),
    container_start_min_ms: Math.min(...ours),
    container_start_ctr_ms: median(theirs),
    container_start_ctr_min_ms: Math.min(...theirs),
    container_start_vs_ctr_ratio: median(ours.map((ms, pair) => ms / (theirs[pair] ?? ms))),
  };
}

async function measureMany(runtime: NodeRuntime, ctr: Ctr, count: number): Promise<BenchResult> {
  const began = performance.now();
  const ids = await Promise.all(Array.from({ length: count }, () => start(runtime)));
  const ours = performance.now() - began;
  await Promise.all(ids.map((id) => remove(runtime, id)));
  const names = Array.from({ length: count }, (_, position) => `many-${position}`);
  const ctrBegan = performance.now();
  await atOnce(names, 4 * availableParallelism(), ctr.start);
  const theirs = performance.now() - ctrBegan;
  await atOnce(names, availableParallelism(), ctr.remove);
  return {
    [`containers${count}_start_s`]: ours / 1000,
    [`containers${count}_start_ctr_s`]: theirs / 1000,
    [`containers${count}_vs_ctr_ratio`]: ours / theirs,
  };
}

async function atOnce(
  names: readonly string[],
  places: number,
  work: (name: string) => Promise<void>,
): Promise<void> {
  const left = [...names];
  const worker = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await work(name);
  };
  await Promise.all(Array.from({ length: places }, worker));
}

/** What containerd holds resident with nothing running. */
function memory(dir: string): BenchResult {
  const pid = readFileSync(join(dir, "containerd/containerd.pid"), "utf8").split(" ")[0];
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  return { containerd_rss_mb: (kib * 1024) / 1e6 };
}
