/**
 * Leads TCP connections to service addresses by programs at `connect`, beside the rules of nftables: keeps the programs and
 * what they know.
 *
 * A gain in speed and nothing else. Where the kernel or the machine takes no programs, after the end of the daemon and until
 * the first pass of the next one, the rules lead every connection; those that are open are touched by neither.
 */
import { createHash } from "node:crypto";
import { closeSync } from "node:fs";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { KernelThread } from "../nft/library.ts";
import { driftOf } from "./drift.ts";
import {
  type HookPlan,
  type HookState,
  isNothing,
  noHooks,
  planHooks,
  type SpacePlace,
  withoutSpace,
} from "./plan.ts";
import type { HeldHooks, Hooks } from "./request.ts";

type Thread = Pick<KernelThread, "hooks">;

/** What the programs know, to be compared with the plan. */
export interface ConnectLook extends HeldHooks {
  /** Programs there should be. */
  readonly links: number;
  /** By file of a namespace; those that rules lead are left out. */
  readonly cookies: ReadonlyMap<string, Uint8Array>;
}

/** The programs of one daemon. */
export class ConnectHooks {
  readonly #thread: Thread;
  readonly #log: Log;
  #hooks: Hooks | undefined;
  #state = noHooks;
  /** The state when the maps were found to be so, and a digest of them. */
  #found: { readonly state: HookState; readonly digest: string } | undefined;
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
      this.#leave(error);
    }
  }

  /**
   * Compares what the kernel has with what it was told. Backends are restored at once, namespaces and programs with what is
   * applied next. Never rejects.
   *
   * @returns What differed, for people; undefined when nothing did.
   */
  async check(): Promise<string | undefined> {
    try {
      const hooks = this.#hooks;
      const held = await this.#read();
      if (hooks === undefined || held === undefined) return undefined;
      const found = await this.#restore(hooks, held);
      if (found === undefined) return undefined;
      this.#log.warn("programs at connect were changed and are restored", { found });
      return found;
    } catch (error) {
      this.#leave(error);
      return undefined;
    }
  }

  /**
   * What the kernel has, and by which cookies it knows the namespaces that it was told of; changes nothing.
   *
   * @returns Undefined while rules lead every connection. @throws Error the kernel's refusal.
   */
  async look(): Promise<ConnectLook | undefined> {
    const spaces = new Map([...this.#state.spaces].map(([file, { cookie }]) => [file, cookie]));
    const links = this.#hooks?.links.length ?? 0;
    const held = await this.#read();
    return held === undefined ? undefined : { ...held, links, cookies: spaces };
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

  #leave(error: unknown): void {
    this.close();
    this.#isLeft = true;
    this.#log.info("rules lead every connection to service addresses", { err: errorText(error) });
  }

  /** @returns Undefined where there is nothing. @throws Error the kernel's refusal. */
  async #read(): Promise<HeldHooks | undefined> {
    const hooks = this.#hooks;
    if (hooks === undefined) return undefined;
    const answers = await this.#thread.hooks([{ what: "read-hooks", namespace: undefined, hooks }]);
    const [answer] = answers ?? [];
    // Ended meanwhile: the descriptors may be others' by now.
    if (answer === undefined || this.#hooks !== hooks) return undefined;
    if (answer.held === undefined) throw new Error(answer.output);
    return answer.held;
  }

  /** @returns What differed. @throws Error the kernel's refusal. */
  async #restore(hooks: Hooks, held: HeldHooks): Promise<string | undefined> {
    const state = this.#state;
    if (held.linked < hooks.links.length) {
      this.close();
      return `${hooks.links.length - held.linked} of ${hooks.links.length} programs are taken away`;
    }
    // A hundred thousand entries take a tenth of a second to compare.
    const digest = createHash("sha1").update(held.spaces).update(held.backends).digest("base64");
    if (this.#found?.state === state && this.#found.digest === digest) return undefined;
    const { come, gone, left, files, found } = driftOf(state, held);
    if (found === "") {
      this.#found = { state, digest };
      return undefined;
    }
    const spaces = new Map([...state.spaces].filter(([file]) => !files.includes(file)));
    this.#state = { ...state, spaces };
    const tell = { what: "tell-hooks", namespace: undefined, hooks, come, left, gone } as const;
    const [answer] = (await this.#thread.hooks([tell])) ?? [];
    if (answer?.ok !== true) throw new Error(answer?.output ?? "no answer");
    return found;
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
