/**
 * The objects of one table, by id, in pages that are copied when they are written after a freeze.
 *
 * A copy of a million references takes up to 100 ms on a busy small machine. Pages make a freeze a matter of a few
 * thousand references: both sides share them, and the first change to a page after that copies the page.
 */
import type { AnyObject } from "./tables.ts";

/** Objects of one page: copying it takes less than a microsecond. */
const pageSlots = 512;

type Page = (AnyObject | undefined)[];

/** The objects of a table at one moment, in no particular order. */
export interface FrozenObjects extends Iterable<AnyObject> {
  readonly size: number;
}

/** A table of objects. */
export class ObjectTable {
  readonly #slots = new Map<string, number>();
  #pages: Page[] = [];
  /** Whether a page belongs to this table alone, and may be written. */
  #owned: boolean[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#slots.size;
  }

  get(id: string): AnyObject | undefined {
    const slot = this.#slots.get(id);
    if (slot === undefined) return undefined;
    return this.#pages[Math.floor(slot / pageSlots)]?.[slot % pageSlots];
  }

  /** Puts an object in, in place of the one with its id. */
  set(object: AnyObject): void {
    let slot = this.#slots.get(object.id);
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.#slots.size;
      this.#slots.set(object.id, slot);
    }
    this.#page(slot)[slot % pageSlots] = object;
  }

  delete(id: string): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    this.#slots.delete(id);
    this.#free.push(slot);
    this.#page(slot)[slot % pageSlots] = undefined;
  }

  /** All objects; those that come in or go meanwhile may or may not be among them. */
  values(): IterableIterator<AnyObject> {
    return objectsOf(this.#pages);
  }

  /** The objects as they are now. */
  freeze(): FrozenObjects {
    // The table goes on with a list of its own, in which every page is to be copied before it is written.
    const pages = this.#pages;
    this.#pages = [...pages];
    this.#owned = pages.map(() => false);
    return { size: this.size, [Symbol.iterator]: () => objectsOf(pages) };
  }

  /** The page of a slot, to be written. */
  #page(slot: number): Page {
    const number = Math.floor(slot / pageSlots);
    const page = this.#pages[number];
    if (page !== undefined && this.#owned[number]) return page;
    const own = page === undefined ? [] : [...page];
    this.#pages[number] = own;
    this.#owned[number] = true;
    return own;
  }
}

function* objectsOf(pages: readonly Page[]): Generator<AnyObject, undefined> {
  for (const page of pages) {
    for (const object of page) if (object !== undefined) yield object;
  }
  return undefined;
}
