/**
 * Brings tables into the kernel: the newest wish for each, all that is wanted at a time in one go per namespace, as small
 * changes where it knows what is there; looks at intervals whether others changed them.
 */
import { createHash } from "node:crypto";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import type { LibraryAnswer, LibraryJob, Nftables } from "./library.ts";
import { driftOf, readListing } from "./listing.ts";
import {
  noTable,
  type Table,
  type TableName,
  tableChange,
  tableTitle,
  wholeTable,
} from "./table.ts";

/** Namespaces that are dealt with before newer wishes are looked at. */
const namespacesAtOnceMax = 64;

/** A table that was not as it should be, and is again. */
export interface Drift {
  readonly namespace: string | undefined;
  readonly table: string;
  /** What was found, for people. */
  readonly found: string;
}

interface Wish {
  readonly name: TableName;
  /** Undefined: it is to go. */
  readonly table: Table | undefined;
  readonly waiters: { resolve: () => void; reject: (error: Error) => void }[];
}

/** From one table to another. */
interface Change {
  readonly after: Table;
  readonly text: string;
  /** Backends that it leads to no more. */
  readonly left: readonly string[];
}

interface Space {
  readonly namespace: string | undefined;
  readonly applied: Map<string, Table>;
  /** Tables that were removed, and are not there as far as is known. */
  readonly absent: Set<string>;
  /** Digests of whole listings that were in order, by table: what is listed the same again need not be read. */
  readonly listed: Map<string, { readonly table: Table; readonly digest: string }>;
  wishes: Map<string, Wish>;
}

/**
 * Owner of all tables of one daemon. Namespaces are files that keep them; undefined is the daemon's own.
 */
export class RulesApplier {
  readonly #nftables: Nftables;
  readonly #log: Log;
  readonly #spaces = new Map<string | undefined, Space>();
  /** Of the last listing that was in order. */
  readonly #digests = new WeakMap<Table, string>();
  /** The last change from a table: many namespaces often go from one to the same other. */
  readonly #changes = new WeakMap<Table, Change>();
  /** Backends that left, by namespace, to which flows are still to be deleted. */
  readonly #left = new Map<string | undefined, Set<string>>();
  /** Whatever speaks to the kernel comes after the one before. */
  #turn: Promise<void> = Promise.resolve();
  #pumping = false;

  constructor(o: { readonly nftables: Nftables; readonly log: Log }) {
    this.#nftables = o.nftables;
    this.#log = o.log;
  }

  /**
   * Resolves when the kernel has this table, or a newer wish for it. Nothing is done where it is so already.
   *
   * @throws ClusterError failed-precondition with the kernel's words; the table is then as it was before.
   */
  apply(namespace: string | undefined, table: Table): Promise<void> {
    return this.#wish(namespace, { name: table, table });
  }

  /** Resolves when there is no such table. Others of the namespace stay. @throws ClusterError as `apply`. */
  remove(namespace: string | undefined, name: TableName): Promise<void> {
    return this.#wish(namespace, { name, table: undefined });
  }

  /** The table as it was last brought into the kernel, for generators that take the one before. */
  applied(namespace: string | undefined, name: TableName): Table | undefined {
    return this.#spaces.get(namespace)?.applied.get(tableTitle(name));
  }

  /** What `nft -j` says to these commands; a failure is an answer. */
  read(
    jobs: readonly { readonly namespace: string | undefined; readonly text: string }[],
  ): Promise<readonly LibraryAnswer[]> {
    return this.#nftables.run(jobs.map((job) => ({ ...job, what: "list" as const })));
  }

  /** The namespace is gone, and its tables with it. */
  forget(namespace: string): void {
    const space = this.#spaces.get(namespace);
    this.#spaces.delete(namespace);
    this.#left.delete(namespace);
    for (const wish of space?.wishes.values() ?? []) for (const w of wish.waiters) w.resolve();
    space?.wishes.clear();
  }

  /** Compares the tables of one namespace, or of all, with the kernel and repairs them. */
  async check(only?: { readonly namespace: string | undefined }): Promise<readonly Drift[]> {
    const found: Drift[] = [];
    const spaces = [...this.#spaces.values()].filter(
      (space) => only === undefined || space.namespace === only.namespace,
    );
    for (let first = 0; first < spaces.length; first += namespacesAtOnceMax) {
      const some = spaces.slice(first, first + namespacesAtOnceMax);
      await this.#exclusive(async () => {
        found.push(...(await this.#checkSome(some)));
      });
    }
    return found;
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    await this.#exclusive(async () => undefined);
    await this.#nftables.close();
  }

  #wish(namespace: string | undefined, wish: Omit<Wish, "waiters">): Promise<void> {
    const space = this.#spaces.get(namespace) ?? {
      namespace,
      applied: new Map(),
      absent: new Set(),
      listed: new Map(),
      wishes: new Map(),
    };
    this.#spaces.set(namespace, space);
    const title = tableTitle(wish.name);
    const before = space.wishes.get(title);
    return new Promise((resolve, reject) => {
      const waiters = [...(before?.waiters ?? []), { resolve, reject }];
      space.wishes.set(title, { ...wish, waiters });
      void this.#pump();
    });
  }

  /** Until no wish is left. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    // Whatever is wished for in one go of the loop comes into one transaction.
    await new Promise((resolve) => setImmediate(resolve));
    for (;;) {
      const wishing = [...this.#spaces.values()].filter((space) => space.wishes.size > 0);
      if (wishing.length > 0) {
        await this.#exclusive(() => this.#fulfil(wishing.slice(0, namespacesAtOnceMax)));
      } else if (this.#left.size > 0) await this.#exclusive(() => this.#deleteFlows());
      else break;
    }
    this.#pumping = false;
  }

  async #fulfil(spaces: readonly Space[]): Promise<void> {
    const works = spaces.map((space) => {
      const wishes = [...space.wishes.values()];
      space.wishes = new Map();
      return { space, wishes };
    });
    const change = (work: Work) =>
      work.wishes.map((wish) => this.#changeText(wish, work.space)).join("");
    for (const work of works) this.#noteLeft(work);
    const failed = await this.#runWorks(works, change);
    // What is there is not what was thought: whole tables do not depend on it, nor one on the other.
    const alone = failed.flatMap(({ work: { space, wishes } }) =>
      wishes.map((wish) => ({ space, wishes: [wish] })),
    );
    const refused = await this.#runWorks(alone, (work) => work.wishes.map(wholeText).join(""));
    for (const { work, output } of refused) {
      const error = new ClusterError("failed-precondition", `nftables: ${output.trim()}`, {
        fields: { namespace: work.space.namespace ?? "" },
      });
      for (const wish of work.wishes) for (const waiter of wish.waiters) waiter.reject(error);
    }
  }

  #changeText({ name, table }: Wish, { applied, absent }: Space): string {
    const before = applied.get(tableTitle(name));
    if (table === undefined && absent.has(tableTitle(name))) return "";
    if (table === undefined || before === undefined) return wholeText({ name, table });
    return this.#change(before, table).text;
  }

  #change(before: Table, after: Table): Change {
    const known = this.#changes.get(before);
    if (known?.after === after) return known;
    const left = [...(before.leadsTo ?? [])].filter((one) => after.leadsTo?.has(one) !== true);
    const change = { after, text: tableChange(before, after), left };
    this.#changes.set(before, change);
    return change;
  }

  /** Backends that leave with this work; before it is done. */
  #noteLeft({ space, wishes }: Work): void {
    const left = this.#left.get(space.namespace) ?? new Set<string>();
    for (const { name, table } of wishes) {
      if (table === undefined) continue;
      for (const address of left) if (table.leadsTo?.has(address) === true) left.delete(address);
      const before = space.applied.get(tableTitle(name));
      if (before === undefined) continue;
      for (const address of this.#change(before, table).left) left.add(address);
    }
    if (left.size === 0) this.#left.delete(space.namespace);
    else this.#left.set(space.namespace, left);
  }

  /**
   * In one namespace, as the kernel goes through all flows of the machine for it: wishes that come meanwhile wait for no more.
   * Where it fails, flows to backends that left go on until nothing comes for a while.
   */
  async #deleteFlows(): Promise<void> {
    const [first] = this.#left;
    if (first === undefined) return;
    const [namespace, addresses] = first;
    this.#left.delete(namespace);
    const text = [...addresses].join(" ");
    const [answer] = await this.#run([{ namespace, what: "delete-flows", text }]);
    if (answer?.ok === true) return;
    const fields = { namespace, err: answer?.output.trim() };
    this.#log.warn("flows to backends that left were not deleted", fields);
  }

  /** Those whose transaction was refused, with the reason. */
  async #runWorks(works: readonly Work[], textOf: (work: Work) => string): Promise<Refused[]> {
    const jobs: { work: Work; job: LibraryJob }[] = [];
    for (const work of works) {
      const text = textOf(work);
      const job = { namespace: work.space.namespace, what: "apply", text } as const;
      if (text === "") fulfilled(work);
      else jobs.push({ work, job });
    }
    if (jobs.length === 0) return [];
    const answers = await this.#run(jobs.map(({ job }) => job));
    const refused: Refused[] = [];
    jobs.forEach(({ work }, index) => {
      const answer = answers[index];
      if (answer?.ok === true) fulfilled(work);
      else refused.push({ work, output: answer?.output ?? "no answer" });
    });
    return refused;
  }

  async #checkSome(spaces: readonly Space[]): Promise<Drift[]> {
    const tables = spaces.flatMap((space) =>
      [...space.applied.values()].map((table) => ({ space, table })),
    );
    const jobs = tables.map(({ space, table }) => ({
      namespace: space.namespace,
      what: "list" as const,
      text: `list table ${tableTitle(table)}`,
    }));
    const answers = await this.#run(jobs);
    const drifts: (Drift & { space: Space; whole: Table })[] = [];
    tables.forEach(({ space, table }, index) => {
      const answer = answers[index];
      const found = answer?.ok === true ? this.#found(space, table, answer.output) : "it is gone";
      if (found === undefined) return;
      const { namespace } = space;
      drifts.push({ namespace, table: tableTitle(table), found, space, whole: table });
    });
    await this.#repair(drifts);
    return drifts.map(({ namespace, table, found }) => ({ namespace, table, found }));
  }

  /** A thousand services take ten milliseconds to read, in each of their containers' namespaces. */
  #found(space: Space, table: Table, output: string): string | undefined {
    const title = tableTitle(table);
    const digest = createHash("sha1").update(output).digest("base64");
    const before = space.listed.get(title);
    if (before?.table === table && before.digest === digest) return undefined;
    const listing = readListing(output);
    const found = driftOf(table, listing, this.#digests.get(table));
    if (found !== undefined) return found;
    this.#digests.set(table, listing.digest);
    space.listed.set(title, { table, digest });
    return undefined;
  }

  async #repair(
    drifts: readonly { space: Space; whole: Table; table: string; found: string }[],
  ): Promise<void> {
    if (drifts.length === 0) return;
    const texts = drifts.map(({ space, whole }) => ({
      namespace: space.namespace,
      what: "apply" as const,
      text: wholeTable(whole),
    }));
    const answers = await this.#run(texts);
    drifts.forEach(({ space, table, found }, index) => {
      const fields = { table, found, namespace: space.namespace };
      if (answers[index]?.ok === true)
        this.#log.warn("rules were changed and are restored", fields);
      else this.#log.error("rules were changed", { ...fields, err: answers[index]?.output.trim() });
    });
  }

  async #run(jobs: readonly LibraryJob[]) {
    try {
      return await this.#nftables.run(jobs);
    } catch (error) {
      return jobs.map(() => ({ ok: false, output: errorText(error) }));
    }
  }

  #exclusive(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined); // The caller hears of it; the next one goes on.
    return turn;
  }
}

interface Work {
  readonly space: Space;
  readonly wishes: readonly Wish[];
}

interface Refused {
  readonly work: Work;
  readonly output: string;
}

function wholeText(wish: Omit<Wish, "waiters">): string {
  return wish.table === undefined ? noTable(wish.name) : wholeTable(wish.table);
}

function fulfilled({ space, wishes }: Work): void {
  for (const { name, table, waiters } of wishes) {
    const title = tableTitle(name);
    if (table === undefined) {
      space.applied.delete(title);
      space.absent.add(title);
    } else {
      space.applied.set(title, table);
      space.absent.delete(title);
    }
    for (const waiter of waiters) waiter.resolve();
  }
}
