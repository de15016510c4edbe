/**
 * Checks of what can only be false through a bug, or through storage that lost what it had promised to keep.
 *
 * They stay on in production: a member that goes on after one of them fails could lose acknowledged writes, so the error
 * is a plain one that nobody handles and the process ends.
 */

/** Throws unless `condition` holds; `text` is a constant, so that nothing is built on the way that is taken. */
export function assert(condition: boolean, text: string): asserts condition {
  if (!condition) fail(text);
}

/** Throws; for checks whose text carries values. */
export function fail(text: string): never {
  throw new Error(`raft core: ${text}`);
}
