/**
 * What the Raft log's files hold, by key, in memory: small values themselves, and where the values of records stand.
 *
 * Pure state: `log-folder.ts` fills it at start, `log-database.ts` keeps it in step with what it writes. Keys of records
 * begin with `e`; all others are small and few.
 */
import type { LogOperation } from "./log-segment.ts";

/** One file of the log. */
export interface Segment {
  readonly number: number;
  /** Bytes before its first batch: header and first frame. */
  readonly head: number;
  /** Bytes that count; what a failed write left behind them does not. */
  size: number;
  /** Records whose value in force is here, and the bytes of those values. */
  records: number;
  recordBytes: number;
}

/** Where a value stands. */
export interface ValuePlace {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
}

/** Whether the key is that of a record, whose value is not kept in memory. */
export function isRecordKey(key: string): boolean {
  return key.startsWith("e");
}

/** Keys and values of one log. */
export class LogIndex {
  readonly #small = new Map<string, Uint8Array>();
  readonly #records = new Map<string, ValuePlace>();

  /** The value of a key that is not a record's. */
  small(key: string): Uint8Array | undefined {
    return this.#small.get(key);
  }

  /** Operations that bring about all small values. */
  smallValues(): LogOperation[] {
    return [...this.#small].map(([key, value]) => ({ type: "put", key, value }));
  }

  /** Forgets all small values: those that follow are all there are. */
  clearSmall(): void {
    this.#small.clear();
  }

  /** Where the record stands. */
  record(key: string): ValuePlace | undefined {
    return this.#records.get(key);
  }

  /** Records with a key in [from, to), in order of their keys. */
  recordsBetween(from: string, to: string): (readonly [string, ValuePlace])[] {
    return [...this.#records]
      .filter(([key]) => key >= from && key < to)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Small values with a key in [from, to). */
  smallBetween(from: string, to: string): (readonly [string, Uint8Array])[] {
    return [...this.#small].filter(([key]) => key >= from && key < to);
  }

  /** Records that stand in a segment. */
  recordsIn(segment: Segment): (readonly [string, ValuePlace])[] {
    return [...this.#records].filter(([, place]) => place.segment === segment);
  }

  /** Takes over what a frame in `segment` says; `offsets` are those of the values. */
  apply(operations: readonly LogOperation[], offsets: readonly number[], segment: Segment): void {
    operations.forEach((operation, i) => {
      const { key } = operation;
      if (operation.type === "del") this.remove(key);
      else if (isRecordKey(key)) {
        this.remove(key);
        const place = { segment, offset: offsets[i] ?? 0, length: operation.value.length };
        this.#records.set(key, place);
        segment.records++;
        segment.recordBytes += place.length;
      } else this.putSmall(key, operation.value);
    });
  }

  /** Sets a small value; a copy is kept, since values are often views of something large. */
  putSmall(key: string, value: Uint8Array): void {
    this.#small.set(key, Uint8Array.from(value));
  }

  /** Removes a key, whatever it is. */
  remove(key: string): void {
    this.#small.delete(key);
    const place = this.#records.get(key);
    if (place === undefined) return;
    this.#records.delete(key);
    place.segment.records--;
    place.segment.recordBytes -= place.length;
  }
}
