/**
 * Exactly-once: which transactions of which proposer were decided, and how.
 *
 * Part of the replicated state, changed only while applying. A proposer is one life of a manager process. Bounded: the
 * least recently heard proposers are forgotten, and of each proposer only the latest transactions are remembered; an
 * older one that turns up is refused, never applied.
 */
import { StoreClient, type StoreClientRun } from "../../src/common/api/generated/api.ts";
import { clientSequencesMax, clientsMax } from "../../src/common/limits/store.ts";

/** What became of a transaction. */
export type Verdict = "applied" | "refused" | "forgotten" | "unseen";

interface Client {
  readonly id: number;
  lastIndex: number;
  floor: number;
  /** Runs of equal outcome, ascending; nearly always one or a few. */
  readonly runs: { first: number; count: number; applied: boolean }[];
}

/** The proposers the state remembers. */
export class Clients {
  readonly #byId = new Map<number, Client>();
  /** Called with the id of a proposer whose record changed or went away. */
  onChange: ((id: number) => void) | undefined;

  /** What became of transaction `sequence` of proposer `id`. */
  verdict(id: number, sequence: number): Verdict {
    const client = this.#byId.get(id);
    if (client === undefined) return "unseen";
    if (sequence <= client.floor) return "forgotten";
    const run = client.runs[lastRunFrom(client.runs, sequence)];
    if (run === undefined || sequence >= run.first + run.count) return "unseen";
    return run.applied ? "applied" : "refused";
  }

  /** Remembers the outcome of a transaction that was unseen. */
  record(id: number, sequence: number, applied: boolean, index: number): void {
    let client = this.#byId.get(id);
    if (client === undefined) {
      client = { id, lastIndex: index, floor: 0, runs: [] };
      this.#byId.set(id, client);
      this.#evict();
    }
    client.lastIndex = index;
    insert(client.runs, sequence, applied);
    raiseFloor(client);
    this.onChange?.(id);
  }

  /** Ids of all proposers remembered, ascending. */
  ids(): number[] {
    return [...this.#byId.keys()].sort((a, b) => a - b);
  }

  /** The record of a proposer as it is kept on disk and in snapshots. */
  encoded(id: number): Uint8Array | undefined {
    const client = this.#byId.get(id);
    if (client === undefined) return undefined;
    const { lastIndex, floor, runs } = client;
    return StoreClient.encode(StoreClient.create({ clientId: id, lastIndex, floor, runs }));
  }

  /** Takes over a record from disk or from a snapshot. */
  load(record: StoreClient): void {
    const runs = record.runs.map((run: StoreClientRun) => ({ ...run }));
    const { clientId, lastIndex, floor } = record;
    this.#byId.set(clientId, { id: clientId, lastIndex, floor, runs });
  }

  #evict(): void {
    if (this.#byId.size <= clientsMax) return;
    let oldest: Client | undefined;
    for (const client of this.#byId.values()) {
      const older =
        oldest === undefined ||
        client.lastIndex < oldest.lastIndex ||
        (client.lastIndex === oldest.lastIndex && client.id < oldest.id);
      if (older) oldest = client;
    }
    if (oldest === undefined) return;
    this.#byId.delete(oldest.id);
    this.onChange?.(oldest.id);
  }
}

/** Position of the last run that starts at or before `sequence`, or -1. */
function lastRunFrom(runs: Client["runs"], sequence: number): number {
  let at = runs.length - 1;
  while (at >= 0 && (runs[at]?.first ?? 0) > sequence) at--;
  return at;
}

function insert(runs: Client["runs"], sequence: number, applied: boolean): void {
  const at = lastRunFrom(runs, sequence);
  const before = runs[at];
  const after = runs[at + 1];
  const joinsBefore =
    before !== undefined && before.applied === applied && before.first + before.count === sequence;
  const joinsAfter =
    after !== undefined && after.applied === applied && after.first === sequence + 1;
  if (joinsBefore) {
    before.count++;
    if (joinsAfter) {
      before.count += after.count;
      runs.splice(at + 1, 1);
    }
  } else if (joinsAfter) {
    after.first--;
    after.count++;
  } else runs.splice(at + 1, 0, { first: sequence, count: 1, applied });
}

/** Forgets what lies too far behind the newest transaction. */
function raiseFloor(client: Client): void {
  const newest = client.runs[client.runs.length - 1];
  if (newest === undefined) return;
  const floor = newest.first + newest.count - 1 - clientSequencesMax;
  if (floor <= client.floor) return;
  client.floor = floor;
  for (let first = client.runs[0]; first !== undefined; first = client.runs[0]) {
    const cut = floor - first.first + 1;
    if (cut <= 0) return;
    if (cut < first.count) {
      first.first += cut;
      first.count -= cut;
      return;
    }
    client.runs.shift();
  }
}
