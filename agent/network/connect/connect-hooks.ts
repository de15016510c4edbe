/**
 * Leads TCP connections to service addresses by programs at `connect`, beside the rules of nftables: keeps the programs and
 * what they know.
 *
 * A gain in speed and nothing else. Where the kernel or the machine takes no programs, after the end of the daemon and until
 * the first pass of the next one, the rules lead every connection; those that are open are touched by neither.
 */
import { closeSync } from "node:fs";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { KernelThread } from "../nft/library.ts";
import {
  type HookPlan,
  isNothing,
  noHooks,
  planHooks,
  type SpacePlace,
  withoutSpace,
} from "./plan.ts";
import type { Hooks } from "./request.ts";

type Thread = Pick<KernelThread, "hooks">;

/** The programs of one daemon. */
export class ConnectHooks {
  readonly #thread: Thread;
  readonly #log: Log;
  #hooks: Hooks | undefined;
  #state = noHooks;
  /** The rules lead, for good. */
  #isLeft: boolean;

  /** @param o.isWanted Whether there are to be programs; else rules lead every connection. */
  constructor(o: { readonly thread: Thread; readonly isWanted: boolean; readonly log: Log }) {
    this.#thread = o.thread;
    this.#isLeft = !o.isWanted;
    this.#log = o.log;
  }

  /** Resolves when the programs know these namespaces and their backends, and no others. Never rejects. */
  async apply(wanted: readonly SpacePlace[]): Promise<void> {
    if (this.#isLeft) return;
    const plan = planHooks(this.#state, wanted);
    if (isNothing(plan)) return;
    try {
      await this.#tell(plan);
    } catch (error) {
      this.close();
      this.#isLeft = true;
      this.#log.info("rules lead every connection to service addresses", { err: errorText(error) });
    }
  }

  /** The namespace that the file kept is gone, or was made anew. */
  forget(file: string): void {
    this.#state = withoutSpace(this.#state, file);
  }

  /** Ends the programs. */
  close(): void {
    const { spaces, backends, links = [] } = this.#hooks ?? {};
    this.#hooks = undefined;
    this.#state = noHooks;
    for (const one of [...links, spaces, backends]) if (one !== undefined) closeSync(one);
  }

  /** @throws Error the kernel's refusal. */
  async #tell({ come, enter, left, gone, next }: HookPlan): Promise<void> {
    const none = new Uint8Array(0);
    this.#hooks ??= await this.#load();
    const hooks = this.#hooks;
    if (hooks === undefined) return;
    const tell = { what: "tell-hooks", namespace: undefined, hooks } as const;
    const answers = await this.#thread.hooks([
      { ...tell, come, left: none, gone: none },
      ...enter.map(({ file, table }) => {
        return { what: "enter-hooks", namespace: file, hooks, table } as const;
      }),
      { ...tell, come: none, left, gone },
    ]);
    if (answers === undefined) return this.close();
    for (const answer of [answers[0], answers.at(-1)]) {
      if (answer?.ok !== true) throw new Error(answer?.output ?? "no answer");
    }
    const spaces = new Map(next.spaces);
    enter.forEach(({ file, table }, at) => {
      // Else it went meanwhile, or there is no room: the rules lead.
      const cookie = answers[at + 1]?.cookie;
      if (cookie !== undefined) spaces.set(file, { cookie, table });
    });
    this.#state = { ...next, spaces };
  }

  /** @returns Undefined where there is no thread. */
  async #load(): Promise<Hooks | undefined> {
    const answers = await this.#thread.hooks([{ what: "load-hooks", namespace: undefined }]);
    const [answer] = answers ?? [];
    if (answer !== undefined && answer.hooks === undefined) throw new Error(answer.output);
    return answer?.hooks;
  }
}
