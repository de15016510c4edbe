/**
 * What there is to say to an agent, cut into messages of bounded size and numbered. Pure.
 */
import { assignmentBytesMax } from "../../src/common/limits/agent.ts";

/** Lists of objects and ids, by the field of the message they go in. */
export type Lists = { readonly [field: string]: readonly unknown[] };

/** One message's share of the lists. */
export type Piece<L> = { -readonly [K in keyof L]?: L[K] };

/** Place of a message in what is said. */
export interface PiecePlace {
  readonly number: number;
  readonly full?: boolean;
  readonly first?: boolean;
  readonly last?: boolean;
}

/** A list that is to be said, and the bytes of one of its objects. */
export interface PieceList<L> {
  readonly field: keyof L;
  sizeOf(object: never): number;
}

/**
 * Cuts the lists, one after the other, into pieces of so many objects and {@link assignmentBytesMax} bytes. An object larger than
 * that has a piece of its own.
 *
 * @param order The order in which an agent may act.
 */
export function cut<L extends Lists>(
  lists: L,
  order: readonly PieceList<L>[],
  objectsMax: number,
): Piece<L>[] {
  const pieces: Piece<Lists>[] = [];
  let [bytes, objects] = [0, 0];
  for (const { field, sizeOf } of order) {
    for (const object of lists[field] as readonly never[]) {
      const size = sizeOf(object);
      const isFull = objects >= objectsMax || bytes + size > assignmentBytesMax;
      if (pieces.length === 0 || (isFull && objects > 0)) {
        pieces.push({});
        [bytes, objects] = [0, 0];
      }
      const piece = pieces[pieces.length - 1] as Record<string, unknown[]>;
      const list = piece[field as string] ?? [];
      list.push(object);
      piece[field as string] = list;
      bytes += size;
      objects += 1;
    }
  }
  return pieces as Piece<L>[];
}

/** Size of an id in a list. */
export function idSize(id: string): number {
  return id.length;
}

/** Pieces of what changed, with numbers that count on from `number`. */
export function numbered<P>(pieces: readonly P[], number: number): (P & PiecePlace)[] {
  return pieces.map((piece, i) => ({ ...piece, number: number + i }));
}

/** Pieces of everything there is, at least one, with numbers that count on from `number`. */
export function numberedInFull<P extends object>(
  pieces: readonly P[],
  number: number,
): (Partial<P> & PiecePlace)[] {
  const all: readonly Partial<P>[] = pieces.length === 0 ? [{}] : pieces;
  return all.map((piece, i) => ({
    ...piece,
    number: number + i,
    full: true,
    first: i === 0,
    last: i === all.length - 1,
  }));
}
