/**
 * Speaks to the kernel in any network namespace, in a thread of its own where koffi and libnftables load: transactions of
 * nftables, and changes by netlink, each a tenth of a millisecond. A process takes twenty, and blocks the loop for some of
 * them; it takes the place of the thread where there can be none.
 */
import { Worker } from "node:worker_threads";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { HookAnswer, HookJob } from "../connect/request.ts";
import type { SpaceContents } from "../model.ts";
import type { FailedChange } from "../netlink/carry-out.ts";
import type { Change } from "../netlink/change.ts";
import type { PutAnswer, PutRequest } from "../shortcut/request.ts";
import { type ProgramAnswer, runIn } from "./programs.ts";

/** Something to do in one namespace. */
export interface LibraryJob {
  /** File that keeps it; undefined for the daemon's own. */
  readonly namespace: string | undefined;
  /** `apply` a transaction, `list` as JSON what a command names, or delete the UDP flows to the addresses. */
  readonly what: "apply" | "list" | "delete-flows";
  /** The transaction; the command; addresses separated by spaces. */
  readonly text: string;
}

/** What came of it: the listing, or the error's text. */
export type LibraryAnswer = ProgramAnswer;

/** Runs commands of nftables. */
export interface Nftables {
  /** All of them, in order; failures are answers. */
  run(jobs: readonly LibraryJob[]): Promise<readonly LibraryAnswer[]>;
  close(): Promise<void>;
}

/** Changes in one namespace; undefined is the daemon's own. */
export interface ChangeWork {
  readonly namespace: string | undefined;
  readonly changes: readonly Change[];
}

/** Everything the thread does. */
export type ThreadJob =
  | LibraryJob
  | (ChangeWork & { readonly what: "change" })
  | { readonly namespace: string | undefined; readonly what: "look"; readonly everything: boolean }
  | { readonly namespace: string; readonly what: "put-programs"; readonly request: PutRequest }
  | HookJob;

/** What came of a job. */
export interface ThreadAnswer extends LibraryAnswer, Pick<HookAnswer, "hooks" | "cookie" | "held"> {
  readonly failed?: readonly FailedChange[];
  readonly contents?: SpaceContents;
  readonly put?: PutAnswer;
}

/** Netlink in any namespace; answers are undefined where there is no thread. */
export interface KernelThread {
  /** All of them in order, past those that fail. @returns What failed, by work. */
  change(works: readonly ChangeWork[]): Promise<readonly (readonly FailedChange[])[] | undefined>;
  /** What a namespace holds. @param everything Rules, neighbours and forwarding tables too. */
  look(namespace: string | undefined, everything: boolean): Promise<SpaceContents | undefined>;
  /** Programs at ports of bridges. @throws ClusterError unavailable where the kernel takes none. */
  putPrograms(namespace: string, request: PutRequest): Promise<PutAnswer | undefined>;
  /** Programs where sockets connect; failures are answers. */
  hooks(jobs: readonly HookJob[]): Promise<readonly HookAnswer[] | undefined>;
}

/** How long the thread stays when there is nothing to do: it holds 15 MB, and is there again within 0.1 s. */
const threadIdleMs = 10_000;
/** Processes at a time where there is no thread. */
const processesMax = 4;

/** The thread, with processes in its place where it cannot be. */
export class ThreadNftables implements Nftables, KernelThread {
  readonly #log: Log;
  readonly #processes = new ProcessNftables();
  #thread: LibraryThread | undefined;
  /** Said once: koffi or the library does not load here. */
  #unusable = false;
  #idle: NodeJS.Timeout | undefined;
  #running = 0;

  constructor(o: { readonly log: Log }) {
    this.#log = o.log;
  }

  async run(jobs: readonly LibraryJob[]): Promise<readonly LibraryAnswer[]> {
    if (jobs.length === 0) return [];
    return (await this.#ask(jobs)) ?? this.#processes.run(jobs);
  }

  async change(
    works: readonly ChangeWork[],
  ): Promise<readonly (readonly FailedChange[])[] | undefined> {
    const answers = await this.#ask(works.map((work) => ({ ...work, what: "change" })));
    return answers?.map(({ ok, output, failed = [] }, at) => {
      if (ok) return failed;
      // The namespace is gone, and all that was in it.
      const all = works[at]?.changes ?? [];
      return all.map((_, index) => ({ index, error: output, isAbsent: true }));
    });
  }

  async look(
    namespace: string | undefined,
    everything: boolean,
  ): Promise<SpaceContents | undefined> {
    const [answer] = (await this.#ask([{ namespace, what: "look", everything }])) ?? [];
    if (answer === undefined) return undefined;
    if (answer.contents === undefined) throw new ClusterError("unavailable", answer.output);
    return answer.contents;
  }

  async putPrograms(namespace: string, request: PutRequest): Promise<PutAnswer | undefined> {
    const [answer] = (await this.#ask([{ namespace, what: "put-programs", request }])) ?? [];
    if (answer === undefined) return undefined;
    if (answer.put === undefined) throw new ClusterError("unavailable", answer.output);
    return answer.put;
  }

  hooks(jobs: readonly HookJob[]): Promise<readonly HookAnswer[] | undefined> {
    return this.#ask(jobs);
  }

  /** @returns Undefined where there is no thread. */
  async #ask(jobs: readonly ThreadJob[]): Promise<readonly ThreadAnswer[] | undefined> {
    if (this.#unusable) return undefined;
    clearTimeout(this.#idle);
    this.#running++;
    try {
      this.#thread ??= new LibraryThread();
      return await this.#thread.run(jobs);
    } catch (error) {
      this.#thread = undefined;
      this.#unusable = true;
      this.#log.warn("the kernel is spoken to through processes", { err: errorText(error) });
      return undefined;
    } finally {
      this.#running--;
      if (this.#running === 0) this.#rest();
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.close();
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => void this.close(), threadIdleMs);
    this.#idle.unref();
  }
}

/** One process of `nft` per job, a few at a time; jobs of one namespace must not come twice in a call. */
export class ProcessNftables implements Nftables {
  async run(jobs: readonly LibraryJob[]): Promise<readonly LibraryAnswer[]> {
    const answers: LibraryAnswer[] = [];
    const queue = jobs.map((job, index) => ({ job, index }));
    const take = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const { job } = next;
        answers[next.index] =
          job.what === "delete-flows" ? await deleteFlows(job) : await nftProcess(job);
      }
    };
    await Promise.all(Array.from({ length: Math.min(processesMax, jobs.length) }, take));
    return answers;
  }

  async close(): Promise<void> {}
}

/** Of all threads of this process: one at a time is in libnftables. */
const turn = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);

/** A worker thread and the calls that wait for it. */
class LibraryThread {
  readonly #worker = new Worker(new URL("library-worker.js", import.meta.url), {
    workerData: turn,
  });
  readonly #waiting: {
    resolve: (answers: readonly ThreadAnswer[]) => void;
    reject: (error: Error) => void;
  }[] = [];
  readonly #ready: Promise<void>;
  #ended = false;

  constructor() {
    this.#ready = new Promise((resolve, reject) => {
      this.#worker.on("message", (message: "ready" | readonly ThreadAnswer[]) => {
        if (message === "ready") resolve();
        else this.#waiting.shift()?.resolve(message);
      });
      const fail = (error: Error) => {
        reject(error);
        for (const call of this.#waiting.splice(0)) call.reject(error);
      };
      this.#worker.on("error", fail);
      this.#worker.on("exit", () => {
        this.#ended = true;
        fail(new Error("the thread that speaks to the kernel ended"));
      });
    });
    this.#ready.catch(() => undefined); // Whoever runs something hears of it.
    this.#worker.unref();
  }

  async run(jobs: readonly ThreadJob[]): Promise<readonly ThreadAnswer[]> {
    if (this.#ended) throw new Error("the thread that speaks to the kernel has ended");
    this.#worker.ref();
    try {
      await this.#ready;
      return await new Promise((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
        this.#worker.postMessage(jobs);
      });
    } finally {
      if (this.#waiting.length === 0) this.#worker.unref();
    }
  }

  /** It ends by itself, so that it can give back what it holds. */
  async close(): Promise<void> {
    if (this.#ended) return;
    const ended = new Promise((resolve) => this.#worker.once("exit", resolve));
    this.#worker.ref();
    this.#worker.postMessage("close");
    await ended;
  }
}

/** Transactions go to standard input; listings are arguments, as `nft -j -f -` cannot read a pipe of Node's (1.0.6). */
function nftProcess(job: LibraryJob): Promise<LibraryAnswer> {
  if (job.what === "list") return runIn(job.namespace, ["nft", "-j", job.text]);
  return runIn(job.namespace, ["nft", "-f", "-"], job.text);
}

/** By the program `conntrack`, one address at a time; it fails when there was no flow, which is fine. */
async function deleteFlows(job: LibraryJob): Promise<LibraryAnswer> {
  for (const address of job.text.split(" ")) {
    const family = address.includes(":") ? "ipv6" : "ipv4";
    const flows = ["-f", family, "-p", "udp", "--reply-src", address];
    const { ok, output } = await runIn(job.namespace, ["conntrack", "-D", ...flows]);
    if (!ok && !output.includes("0 flow entries")) return { ok, output };
  }
  return { ok: true, output: "" };
}
