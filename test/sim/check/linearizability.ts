/**
 * Decides whether what clients saw of one key could have come from a single register.
 *
 * The search of Wing and Gong (1993) in the iterative form of Lowe (2017): operations are placed one after the other,
 * never one whose start lies after the end of another unplaced one, and a pair of (placed operations, value of the
 * register) that led nowhere is not tried again. An operation without a known outcome may take effect at any time after
 * its start, or never: its interval is open at the end.
 */

/** What one client did to one key, and saw. Values are numbers that only one operation writes; 0 is the first value. */
export interface Operation {
  readonly key: number;
  readonly kind: "put" | "get" | "cas";
  /** What was written; unused by a get. */
  readonly value: number;
  /** What a cas expects to find. */
  readonly expected: number;
  /** Start, in any unit of time. */
  readonly start: number;
  /** End; `Infinity` when the outcome is unknown. */
  end: number;
  /** What a get saw; 1 or 0 when a cas was carried out or refused. */
  result: number;
}

/** Outcome of a check; `undecided` when the search took more steps than allowed. */
export type Verdict = "ok" | "violation" | "undecided";

/** Most steps of one search; a usual one takes a few per operation. */
const stepsMax = 400_000;

interface Node {
  /** Position among the operations. */
  readonly at: number;
  readonly isReturn: boolean;
  before: Node | undefined;
  after: Node | undefined;
  /** Of a start: the end of the same operation. */
  partner: Node | undefined;
}

/** Checks the operations on one key. */
export function checkKey(operations: readonly Operation[], steps = stepsMax): Verdict {
  const useful = operations.filter((o) => o.end !== Number.POSITIVE_INFINITY || o.kind !== "get");
  const known = useful.filter((o) => o.end !== Number.POSITIVE_INFINITY).length;
  return new Search(useful, known).run(steps);
}

/** Checks a whole history; keys are independent of each other. */
export function checkHistory(operations: readonly Operation[]): {
  readonly verdict: Verdict;
  readonly key: number;
} {
  const byKey = new Map<number, Operation[]>();
  for (const operation of operations) {
    const list = byKey.get(operation.key);
    if (list === undefined) byKey.set(operation.key, [operation]);
    else list.push(operation);
  }
  let undecided: number | undefined;
  for (const [key, list] of byKey) {
    const verdict = checkKey(list);
    if (verdict === "violation") return { verdict, key };
    if (verdict === "undecided") undecided = key;
  }
  return undecided === undefined
    ? { verdict: "ok", key: -1 }
    : { verdict: "undecided", key: undecided };
}

class Search {
  readonly #operations: readonly Operation[];
  /** Operations with a known outcome that are still to be placed; none left means success. */
  #unplaced: number;
  readonly #head: Node;
  readonly #placed: Uint32Array;
  readonly #tried = new Set<string>();

  constructor(operations: readonly Operation[], known: number) {
    this.#operations = operations;
    this.#unplaced = known;
    this.#placed = new Uint32Array((operations.length + 31) >> 5);
    this.#head = linkedEvents(operations);
  }

  run(stepsAllowed: number): Verdict {
    const stack: { node: Node; value: number }[] = [];
    let value = 0;
    let node = this.#head.after;
    let steps = 0;
    while (this.#unplaced > 0) {
      if (++steps > stepsAllowed) return "undecided";
      if (node !== undefined && !node.isReturn) {
        const next = this.#apply(node.at, value);
        if (next !== undefined && this.#place(node, next)) {
          stack.push({ node, value });
          value = next;
          node = this.#head.after;
        } else node = node.after;
        continue;
      }
      // The end of an operation that could not be placed: take back the last choice and go on behind it.
      const choice = stack.pop();
      if (choice === undefined) return "violation";
      value = choice.value;
      this.#takeBack(choice.node);
      node = choice.node.after;
    }
    return "ok";
  }

  /** The register after the operation, `undefined` when its outcome does not fit. */
  #apply(at: number, value: number): number | undefined {
    const operation = this.#operations[at];
    if (operation === undefined) return undefined;
    const open = operation.end === Number.POSITIVE_INFINITY;
    switch (operation.kind) {
      case "put":
        return operation.value;
      case "get":
        return operation.result === value ? value : undefined;
      case "cas":
        if (open) return operation.expected === value ? operation.value : undefined;
        if (operation.result === 1) {
          return operation.expected === value ? operation.value : undefined;
        }
        return operation.expected === value ? undefined : value;
    }
  }

  #place(node: Node, value: number): boolean {
    this.#flip(node.at);
    const situation = `${value}:${this.#placed.join()}`;
    if (this.#tried.has(situation)) {
      this.#flip(node.at);
      return false;
    }
    this.#tried.add(situation);
    unlink(node);
    if (node.partner !== undefined) {
      unlink(node.partner);
      this.#unplaced--;
    }
    return true;
  }

  #takeBack(node: Node): void {
    this.#flip(node.at);
    if (node.partner !== undefined) {
      relink(node.partner);
      this.#unplaced++;
    }
    relink(node);
  }

  #flip(at: number): void {
    const word = at >> 5;
    this.#placed[word] = (this.#placed[word] ?? 0) ^ (1 << (at & 31));
  }
}

/** Starts and ends in the order of time; operations without an end have only a start. */
function linkedEvents(operations: readonly Operation[]): Node {
  const events: { node: Node; time: number }[] = [];
  for (let at = 0; at < operations.length; at++) {
    const operation = operations[at];
    if (operation === undefined) continue;
    const start = newNode(at, false);
    events.push({ node: start, time: operation.start });
    if (operation.end === Number.POSITIVE_INFINITY) continue;
    start.partner = newNode(at, true);
    events.push({ node: start.partner, time: operation.end });
  }
  // At the same moment starts come first: such operations count as concurrent.
  events.sort((a, b) => a.time - b.time || Number(a.node.isReturn) - Number(b.node.isReturn));
  const head = newNode(-1, false);
  let last = head;
  for (const { node } of events) {
    last.after = node;
    node.before = last;
    last = node;
  }
  return head;
}

function newNode(at: number, isReturn: boolean): Node {
  return { at, isReturn, before: undefined, after: undefined, partner: undefined };
}

function unlink(node: Node): void {
  if (node.before !== undefined) node.before.after = node.after;
  if (node.after !== undefined) node.after.before = node.before;
}

function relink(node: Node): void {
  if (node.before !== undefined) node.before.after = node;
  if (node.after !== undefined) node.after.before = node;
}
