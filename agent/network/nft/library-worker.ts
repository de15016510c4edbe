/**
 * The thread that speaks to nftables without a process: enters the network namespace of each job and runs it through
 * libnftables. Started by `library.ts`; never returns to the namespace it began in, which is the thread's alone.
 */
import { closeSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { parentPort } from "node:worker_threads";
import type { LibraryAnswer, LibraryJob } from "./library.ts";

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

/** Where the daemon is: for jobs without a namespace of their own. */
const home = openSync("/proc/thread-self/ns/net", "r");

parentPort?.on("message", (jobs: readonly LibraryJob[]) => {
  parentPort?.postMessage(jobs.map(run));
});
parentPort?.postMessage("ready");

function run(job: LibraryJob): LibraryAnswer {
  try {
    enter(job.namespace);
  } catch (error) {
    return { ok: false, output: `cannot enter ${job.namespace ?? "the host's network"}: ${error}` };
  }
  const context = contextNew(0);
  if (context === null) return { ok: false, output: "libnftables has no memory" };
  try {
    bufferOutput(context);
    bufferError(context);
    if (job.json) setOutputFlags(context, outputJson);
    const ok = runBuffer(context, job.text) === 0;
    return { ok, output: String((ok ? getOutput(context) : getError(context)) ?? "") };
  } finally {
    contextFree(context);
  }
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
