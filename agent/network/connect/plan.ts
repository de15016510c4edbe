/**
 * What the maps of the programs are to hold, and what has to be told for that. Pure.
 *
 * Containers in the same networks share a table, so that a backend more or less is told once for all of them, however many
 * there are. Entries come in an order in which a connection that is opened meanwhile finds a backend that is there or none,
 * and then the rules lead it.
 */
import type { SlotsByAddress } from "../nft/slots.ts";
import { addressOf, backendKey, countOf } from "./entries.ts";
import { countSlot } from "./programs.ts";

/** A network namespace and where its service addresses lead. */
export interface SpacePlace {
  /** File that keeps it. */
  readonly file: string;
  /** The same for all with the same table. */
  readonly table: string;
  readonly slots: SlotsByAddress;
}

/** What the maps hold. Objects are replaced, never changed. */
export interface HookState {
  /** By name of a table: its number, never used for another one, and what it leads to. */
  readonly tables: ReadonlyMap<string, { readonly number: number; readonly slots: SlotsByAddress }>;
  /** By file of a namespace. */
  readonly spaces: ReadonlyMap<string, { readonly cookie: Uint8Array; readonly table: number }>;
  /** Of namespaces that are gone. */
  readonly left: readonly Uint8Array[];
  /** The last number of a table. */
  readonly last: number;
}

/** Nothing. */
export const noHooks: HookState = { tables: new Map(), spaces: new Map(), left: [], last: 0 };

/** From one state to the next, in this order. */
export interface HookPlan {
  /** Entries of backends. */
  readonly come: Uint8Array;
  /** Namespaces whose table is a new one to them. */
  readonly enter: readonly { readonly file: string; readonly table: number }[];
  /** Keys of namespaces. */
  readonly left: Uint8Array;
  /** Keys of backends. */
  readonly gone: Uint8Array;
  /** The state then, without those that enter. */
  readonly next: HookState;
}

/** What is to be told. */
export function planHooks(before: HookState, wanted: readonly SpacePlace[]): HookPlan {
  const tables = new Map<string, { readonly number: number; readonly slots: SlotsByAddress }>();
  const spaces = new Map<string, { readonly cookie: Uint8Array; readonly table: number }>();
  const entries = { come: [] as Uint8Array[], gone: [] as Uint8Array[] };
  const enter: { file: string; table: number }[] = [];
  const left = [...before.left];
  let last = before.last;
  for (const { file, table: name, slots } of wanted) {
    let table = tables.get(name);
    if (table === undefined) {
      const had = before.tables.get(name);
      table = { number: had?.number ?? ++last, slots };
      tables.set(name, table);
      changeTable(table.number, had?.slots, slots, entries);
    }
    const space = before.spaces.get(file);
    if (space?.table === table.number) spaces.set(file, space);
    else enter.push({ file, table: table.number });
  }
  const files = new Set(wanted.map(({ file }) => file));
  for (const [file, { cookie }] of before.spaces) if (!files.has(file)) left.push(cookie);
  for (const [name, { number, slots }] of before.tables) {
    if (!tables.has(name)) changeTable(number, slots, new Map(), entries);
  }
  return {
    come: Buffer.concat(entries.come),
    enter,
    left: Buffer.concat(left),
    gone: Buffer.concat(entries.gone),
    next: { tables, spaces, left: [], last },
  };
}

/** Whether there is nothing to tell. */
export function isNothing({ come, enter, left, gone }: HookPlan): boolean {
  return come.length + enter.length + left.length + gone.length === 0;
}

/** A namespace is gone, or another one is kept by the file. */
export function withoutSpace(state: HookState, file: string): HookState {
  const space = state.spaces.get(file);
  if (space === undefined) return state;
  const spaces = new Map(state.spaces);
  spaces.delete(file);
  return { ...state, spaces, left: [...state.left, space.cookie] };
}

/** Slots come before they are counted, and go when they are not counted any more. */
function changeTable(
  table: number,
  before: SlotsByAddress | undefined,
  after: SlotsByAddress,
  entries: { readonly come: Uint8Array[]; readonly gone: Uint8Array[] },
): void {
  for (const [address, { places }] of after) {
    const had = before?.get(address)?.places ?? [];
    if (had === places) continue;
    const key = (slot: number) => backendKey(table, address, slot);
    places.forEach((backend, slot) => {
      if (had[slot] !== backend) entries.come.push(key(slot), addressOf(backend));
    });
    if (had.length > 0 && places.length === 0) entries.gone.push(key(countSlot));
    else if (had.length !== places.length) {
      entries.come.push(key(countSlot), countOf(places.length));
    }
    for (let slot = places.length; slot < had.length; slot++) entries.gone.push(key(slot));
  }
  for (const [address, { places }] of before ?? []) {
    if (after.has(address)) continue;
    entries.gone.push(backendKey(table, address, countSlot));
    places.forEach((_, slot) => {
      entries.gone.push(backendKey(table, address, slot));
    });
  }
}
