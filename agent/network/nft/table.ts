/**
 * A table of nftables as data, and the transactions that make one: whole, or as the difference to what is there. Pure.
 *
 * Transactions are texts for `nft -f`; each is applied as a whole or not at all, and packets see the state before or after
 * it. Names of chains must not be words of the language (`fwd`, `in`, `sctp`), hence the prefixes.
 */

/** A set, or a map when its elements have values. */
export interface TableSet {
  readonly kind: "set" | "map";
  /** Type, and flags, as they stand in the declaration, separated by `;`. */
  readonly header: string;
  /** Value by key; empty values in sets. */
  readonly elements: ReadonlyMap<string, string>;
}

/** A chain; `hook` is its declaration, empty where other chains lead to it. */
export interface TableChain {
  readonly hook: string;
  readonly rules: readonly string[];
}

/** What a table holds. Objects are replaced, never changed. */
export interface Table {
  readonly family: "inet" | "netdev";
  readonly name: string;
  readonly sets: ReadonlyMap<string, TableSet>;
  readonly chains: ReadonlyMap<string, TableChain>;
  /** Backends that it may lead to; flows to those that leave it are deleted. */
  readonly leadsTo?: ReadonlySet<string>;
}

/** Which table is meant. */
export type TableName = Pick<Table, "family" | "name">;

/** The two as one text, as the commands have them. */
export function tableTitle(table: TableName): string {
  return `${table.family} ${table.name}`;
}

/** The transaction after which there is this table and nothing else in it, whatever was there. */
export function wholeTable(table: Table): string {
  const title = tableTitle(table);
  const lines = [`add table ${title}`, `delete table ${title}`, `table ${title} {`];
  for (const [name, set] of table.sets) lines.push(`  ${set.kind} ${name} { ${set.header}; }`);
  for (const [name, chain] of table.chains) {
    lines.push(`  chain ${name} {`);
    if (chain.hook !== "") lines.push(`    ${chain.hook}`);
    for (const rule of chain.rules) lines.push(`    ${rule}`);
    lines.push("  }");
  }
  lines.push("}");
  // After the chains, as verdicts name them.
  for (const [name, set] of table.sets) {
    if (set.elements.size > 0) lines.push(elementsLine("add", { title, name }, [...set.elements]));
  }
  return `${lines.join("\n")}\n`;
}

/** The transaction that removes a table; fine when it is not there. */
export function noTable(table: TableName): string {
  const title = tableTitle(table);
  return `add table ${title}\ndelete table ${title}\n`;
}

/**
 * The transaction that makes `after` out of `before`; empty when they are equal. Names what differs only, so that its cost
 * goes with the change.
 */
export function tableChange(before: Table, after: Table): string {
  if (before === after) return "";
  if (!changesInPlace(before, after)) return wholeTable(after);
  const title = tableTitle(after);
  const lines: string[] = [];
  for (const [name, set] of after.sets) {
    if (!before.sets.has(name)) lines.push(`add ${set.kind} ${title} ${name} { ${set.header}; }`);
  }
  for (const [name, chain] of after.chains) {
    const old = before.chains.get(name);
    if (old === undefined) lines.push(`add chain ${title} ${name}${declared(chain)}`);
  }
  for (const [name, chain] of after.chains) {
    const old = before.chains.get(name)?.rules ?? [];
    if (sameRules(old, chain.rules)) continue;
    if (old.length > 0) lines.push(`flush chain ${title} ${name}`);
    for (const rule of chain.rules) lines.push(`add rule ${title} ${name} ${rule}`);
  }
  for (const [name, set] of after.sets) {
    lines.push(...elementChange({ title, name }, before.sets.get(name), set));
  }
  lines.push(...goneChains(before, after), ...goneSets(before, after));
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

/** Declarations cannot be changed, only made anew. */
function changesInPlace(before: Table, after: Table): boolean {
  for (const [name, set] of after.sets) {
    const old = before.sets.get(name);
    if (old !== undefined && (old.kind !== set.kind || old.header !== set.header)) return false;
  }
  for (const [name, chain] of after.chains) {
    const old = before.chains.get(name);
    if (old !== undefined && old.hook !== chain.hook) return false;
  }
  return tableTitle(before) === tableTitle(after);
}

function elementChange(
  at: { readonly title: string; readonly name: string },
  before: TableSet | undefined,
  after: TableSet,
): string[] {
  if (before === after) return [];
  const gone: [string, string][] = [];
  const come: [string, string][] = [];
  for (const [key, value] of before?.elements ?? []) {
    if (after.elements.get(key) !== value) gone.push([key, ""]);
  }
  for (const [key, value] of after.elements) {
    if (before?.elements.get(key) !== value) come.push([key, value]);
  }
  const lines: string[] = [];
  if (gone.length > 0) lines.push(elementsLine("delete", at, gone));
  if (come.length > 0) lines.push(elementsLine("add", at, come));
  return lines;
}

function elementsLine(
  verb: "add" | "delete",
  at: { readonly title: string; readonly name: string },
  elements: readonly (readonly [string, string])[],
): string {
  const words = elements.map(([key, value]) => (value === "" ? key : `${key} : ${value}`));
  return `${verb} element ${at.title} ${at.name} { ${words.join(", ")} }`;
}

function goneChains(before: Table, after: Table): string[] {
  const title = tableTitle(after);
  const names = [...before.chains.keys()].filter((name) => !after.chains.has(name));
  // Emptied first, as they may lead to one another.
  return [
    ...names.map((name) => `flush chain ${title} ${name}`),
    ...names.map((name) => `delete chain ${title} ${name}`),
  ];
}

function goneSets(before: Table, after: Table): string[] {
  const lines: string[] = [];
  for (const [name, set] of before.sets) {
    if (!after.sets.has(name)) lines.push(`delete ${set.kind} ${tableTitle(after)} ${name}`);
  }
  return lines;
}

function declared(chain: TableChain): string {
  return chain.hook === "" ? "" : ` { ${chain.hook} }`;
}

function sameRules(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((rule, index) => rule === b[index]);
}
