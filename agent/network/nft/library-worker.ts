/**
 * The thread that speaks to the kernel without a process: enters the network namespace of each job and runs it through
 * libnftables, a socket of netlink or bpf(2). Started by `library.ts`; never returns to the namespace it began in, which is the thread's alone.
 */
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parentPort, workerData } from "node:worker_threads";
import { carryOutHook } from "../connect/carry-out.ts";
import { carryOut, lookAround } from "../netlink/carry-out.ts";
import { NetlinkSession, protocols } from "../netlink/session.ts";
import { putPrograms } from "../shortcut/put.ts";
import { deletionsIn, flowAddresses, listFlows } from "./flows.ts";
import type { LibraryAnswer, LibraryJob, ThreadAnswer, ThreadJob } from "./library.ts";

/** setns of <sched.h>: only a network namespace will do. */
const cloneNewnet = 0x40000000;
/** NFT_CTX_OUTPUT_JSON of <nftables/libnftables.h>. */
const outputJson = 1 << 4;

const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
const c = koffi.load("libc.so.6");
const setns = c.func("int setns(int fd, int type)");
const nft = koffi.load("libnftables.so.1");
const contextNew = nft.func("void *nft_ctx_new(uint32_t flags)");
const contextFree = nft.func("void nft_ctx_free(void *ctx)");
const bufferOutput = nft.func("int nft_ctx_buffer_output(void *ctx)");
const bufferError = nft.func("int nft_ctx_buffer_error(void *ctx)");
const setOutputFlags = nft.func("void nft_ctx_output_set_flags(void *ctx, uint32_t flags)");
const getOutput = nft.func("const char *nft_ctx_get_output_buffer(void *ctx)");
const getError = nft.func("const char *nft_ctx_get_error_buffer(void *ctx)");
const runBuffer = nft.func("int nft_run_cmd_from_buffer(void *ctx, const char *buffer)");

/** How long the kernel surely takes to be done with what a transaction removed. */
const contextRestMs = 250;

/** Each holds about half a megabyte. */
const contexts = { restingMax: 16, max: 48 } as const;

/** Where the daemon is: for jobs without a namespace of their own. */
const home = openSync("/proc/thread-self/ns/net", "r");

/** Contexts that have done their work, with the time; see `command`. */
const spent: { readonly context: unknown; readonly atMs: number }[] = [];
let freeing: NodeJS.Timeout | undefined;

/** 1 while a thread of the process is in the library. */
const turn = new Int32Array(workerData as SharedArrayBuffer);

parentPort?.on("message", (message: readonly ThreadJob[] | "close") => {
  if (message === "close") {
    close();
    return;
  }
  parentPort?.postMessage(message.map(run));
  while (spent.length > contexts.restingMax) freeOldest();
  freeing ??= setTimeout(freeSpent, contextRestMs);
});
parentPort?.postMessage("ready");

function run(job: ThreadJob): ThreadAnswer {
  try {
    enter(job.namespace);
  } catch (error) {
    return { ok: false, output: `cannot enter ${job.namespace ?? "the host's network"}: ${error}` };
  }
  try {
    switch (job.what) {
      case "change":
        return { ok: true, output: "", failed: carryOut(job.changes) };
      case "look":
        return { ok: true, output: "", contents: lookAround(job.everything) };
      case "put-programs":
        return { ok: true, output: "", put: putPrograms(job.request) };
      case "load-hooks":
      case "enter-hooks":
      case "tell-hooks":
      case "read-hooks":
        return carryOutHook(job);
      case "delete-flows":
        return { ok: true, output: String(deleteFlows(job.text.split(" "))) };
      default:
        return command(job);
    }
  } catch (error) {
    return { ok: false, output: String(error) };
  }
}

/** The library takes listings apart with strtok, of which a process has one: two threads in it end the process. */
function alone<T>(work: () => T): T {
  while (Atomics.compareExchange(turn, 0, 0, 1) !== 0) Atomics.wait(turn, 0, 1);
  try {
    return work();
  } finally {
    Atomics.store(turn, 0, 0);
    Atomics.notify(turn, 0, 1);
  }
}

function freeOldest(): void {
  alone(() => contextFree(spent.shift()?.context));
}

/**
 * Contexts are freed a moment later: what a transaction removed is kept until no packet can be at it, some ten milliseconds,
 * and the kernel has the socket that is closed before wait for that, though the new rules count already.
 */
function command(job: LibraryJob): LibraryAnswer {
  const answer = alone(() => commandAlone(job));
  if (spent.length > contexts.max) freeOldest();
  return answer;
}

function commandAlone(job: LibraryJob): LibraryAnswer {
  const context = contextNew(0);
  if (context === null) return { ok: false, output: "libnftables has no memory" };
  try {
    bufferOutput(context);
    bufferError(context);
    if (job.what === "list") setOutputFlags(context, outputJson);
    const ok = runBuffer(context, job.text) === 0;
    return { ok, output: String((ok ? getOutput(context) : getError(context)) ?? "") };
  } finally {
    if (job.what === "list") contextFree(context);
    else spent.push({ context, atMs: performance.now() });
  }
}

function freeSpent(): void {
  const now = performance.now();
  freeing = undefined;
  while (spent[0] !== undefined && now - spent[0].atMs >= contextRestMs) freeOldest();
  if (spent.length > 0) freeing = setTimeout(freeSpent, contextRestMs);
}

/** Their sockets would keep the namespaces. */
function close(): void {
  clearTimeout(freeing);
  while (spent.length > 0) freeOldest();
  closeSync(home);
  parentPort?.close();
}

/** Flows that end meanwhile are no failure. @returns How many there were. */
function deleteFlows(addresses: readonly string[]): number {
  if (!mayHaveFlows()) return 0;
  const session = new NetlinkSession(protocols.netfilter);
  try {
    const flows = session.list(listFlows());
    const deletions = deletionsIn(flows, flowAddresses(addresses));
    for (const deletion of deletions) session.tell(deletion);
    return deletions.length;
  } finally {
    session.close();
  }
}

/**
 * Whether somebody in this namespace may go on sending datagrams: it has sockets for them, or it forwards. To look at all
 * flows takes some milliseconds, as the kernel has one table of them for all namespaces.
 */
function mayHaveFlows(): boolean {
  const read = (name: string) => {
    const path = `/proc/thread-self/net/${name}`;
    return existsSync(path) ? readFileSync(path, "utf8") : ""; // Without IPv6 one is missing.
  };
  const sockets = ["sockstat", "sockstat6"].flatMap((name) => [
    ...read(name).matchAll(/^UDP6?: inuse (\d+)/gm),
  ]);
  if (sockets.some(([, count]) => count !== "0")) return true;
  const devices = read("dev").matchAll(/^\s*(\S+):/gm);
  return [...devices].some(([, device = ""]) => !/^(lo|ethg|(ov|eth)\d+)$/.test(device));
}

/** @throws Error when the namespace is not there any more. */
function enter(namespace: string | undefined): void {
  const fd = namespace === undefined ? home : openSync(namespace, "r");
  try {
    if (setns(fd, cloneNewnet) !== 0) throw new Error(`error ${koffi.errno()}`);
  } finally {
    if (fd !== home) closeSync(fd);
  }
}
