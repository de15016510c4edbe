/**
 * What a table of nftables has otherwise than planned: compares `nft -j list table` with the table, element by element, and
 * reads which addresses the rules of a chain lead to. Pure.
 */
import { isIP } from "node:net";
import type { Table } from "../nft/table.ts";
import { canonical } from "../pools.ts";
import type { Comparison } from "./differences.ts";

/** A table as the kernel lists it. */
export interface ListedTable {
  /** Number of rules by chain. */
  readonly rules: ReadonlyMap<string, number>;
  /** Addresses that the rules of a chain name, those of the maps they use included. */
  readonly addresses: ReadonlyMap<string, ReadonlySet<string>>;
  /** Value by key, by set or map; both as the transactions write them. */
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** Takes in a listing. @throws Error when it is no JSON of nftables. */
export function readTable(json: string): ListedTable {
  const { nftables } = JSON.parse(json) as {
    nftables: readonly Readonly<Record<string, Listed>>[];
  };
  const rules = new Map<string, number>();
  const elements = new Map<string, ReadonlyMap<string, string>>();
  const expressions = new Map<string, unknown[]>();
  for (const entry of nftables) {
    const [kind = "", object = {}] = Object.entries(entry)[0] ?? [];
    const { name = "", chain = "" } = object;
    if (kind === "chain") rules.set(name, rules.get(name) ?? 0);
    if (kind === "set" || kind === "map") elements.set(name, new Map(object.elem?.map(element)));
    if (kind !== "rule") continue;
    rules.set(chain, (rules.get(chain) ?? 0) + 1);
    expressions.set(chain, [...(expressions.get(chain) ?? []), object.expr]);
  }
  const addresses = new Map(
    [...expressions].map(([chain, list]) => {
      const words = list.flatMap(wordsIn);
      const ofMaps = words
        .filter((word) => word.startsWith("@"))
        .flatMap((word) => [...(elements.get(word.slice(1))?.values() ?? [])]);
      return [
        chain,
        new Set([...words, ...ofMaps].filter((word) => isIP(word) > 0).map(canonical)),
      ];
    }),
  );
  return { rules, addresses, elements };
}

/** Compares a table with its listing; undefined: it is not there. */
export function compareTable(wanted: Table, listed: ListedTable | undefined): Comparison {
  if (listed === undefined) {
    return { compared: 1, differences: [`table ${wanted.family} ${wanted.name} is missing`] };
  }
  const differences: string[] = [];
  let compared = 1;
  const tell = (text: string) => differences.push(`table ${wanted.name}: ${text}`);
  for (const [name, { kind, elements }] of wanted.sets) {
    const there = listed.elements.get(name);
    compared += elements.size;
    if (there === undefined) tell(`${kind} ${name} is missing`);
    else for (const text of elementDifferences({ kind, name }, elements, there)) tell(text);
  }
  for (const [name, chain] of wanted.chains) {
    const count = listed.rules.get(name);
    compared += chain.rules.length;
    if (count === undefined) tell(`chain ${name} is missing`);
    else if (count !== chain.rules.length) {
      tell(`chain ${name} has ${count} rules instead of ${chain.rules.length}`);
    } else for (const text of addressDifferences(name, wanted, listed)) tell(text);
  }
  for (const name of listed.rules.keys()) {
    if (!wanted.chains.has(name)) tell(`chain ${name} is not of Skep`);
  }
  return { compared, differences };
}

function elementDifferences(
  { kind, name }: { readonly kind: string; readonly name: string },
  wanted: ReadonlyMap<string, string>,
  there: ReadonlyMap<string, string>,
): string[] {
  const found: string[] = [];
  // Which places backends have may change, and that of a published port are told with its chain.
  if (/^to[46]_/.test(name)) return found;
  if (isSlots(name)) return slotDifferences(wanted, there);
  const keys = new Map([...wanted].map(([key, value]) => [plainWord(key), plainWord(value)]));
  for (const [key, value] of keys) {
    const is = there.get(key);
    if (is === undefined) found.push(`${kind} ${name} lacks ${key}`);
    else if (is !== value) found.push(`${kind} ${name} has ${is} for ${key} instead of ${value}`);
  }
  for (const key of there.keys()) {
    if (!keys.has(key)) found.push(`${kind} ${name} has ${key}, which is not of Skep`);
  }
  return found;
}

/** Whether a map leads service addresses to backends: `10.0.1.2 . 0 : 10.0.1.12`, slot by slot. */
function isSlots(name: string): boolean {
  return name === "slots" || name === "slots6";
}

/** Backends by service address in a map of slots. */
export function backendsIn(elements: ReadonlyMap<string, string>): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const [key, value] of elements) {
    const [address = ""] = plainWord(key).split(" . ");
    found.set(address, (found.get(address) ?? new Set()).add(plainWord(value)));
  }
  return found;
}

function slotDifferences(
  wanted: ReadonlyMap<string, string>,
  there: ReadonlyMap<string, string>,
): string[] {
  return leadDifferences(backendsIn(wanted), backendsIn(there));
}

/** Backends by service address, as they should be and as they are. */
export function leadDifferences(
  should: ReadonlyMap<string, ReadonlySet<string>>,
  is: ReadonlyMap<string, ReadonlySet<string>>,
): string[] {
  return [...new Set([...should.keys(), ...is.keys()])].flatMap((address) => {
    const none: ReadonlySet<string> = new Set();
    const [to, led] = [should.get(address) ?? none, is.get(address) ?? none];
    const missing = [...to].filter((backend) => !led.has(backend));
    const extra = [...led].filter((backend) => !to.has(backend));
    return [
      ...missing.map((backend) => `service address ${address} does not lead to ${backend}`),
      ...extra.map(
        (backend) => `service address ${address} leads to ${backend}, which is not ready`,
      ),
    ];
  });
}

/** Of chains that lead to backends: the kernel writes rules in words of its own, but addresses stay addresses. */
function addressDifferences(name: string, wanted: Table, listed: ListedTable): string[] {
  const should = addressesOf(wanted, name);
  const is = listed.addresses.get(name) ?? new Set();
  const missing = [...should].filter((address) => !is.has(address));
  const extra = [...is].filter((address) => !should.has(address));
  return [
    ...missing.map((address) => `chain ${name} does not lead to ${address}`),
    ...extra.map((address) => `chain ${name} leads to ${address}, which is not ready`),
  ];
}

/** Addresses in the rules of a planned chain, those of the maps they use included. */
export function addressesOf(table: Table, chain: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const rule of table.chains.get(chain)?.rules ?? []) {
    for (const word of rule.split(/[\s,{}]+/)) {
      const text = word.replace(/\/\d+$/, "");
      // A port behind an address is written with a colon, too.
      const bare = isIP(text) > 0 ? text : text.replace(/:\d+$/, "");
      if (isIP(bare) > 0) found.add(canonical(bare));
      if (!word.startsWith("@")) continue;
      for (const value of table.sets.get(word.slice(1))?.elements.values() ?? []) {
        if (isIP(value) > 0) found.add(canonical(value));
      }
    }
  }
  return found;
}

interface Listed {
  readonly name?: string;
  readonly chain?: string;
  readonly elem?: readonly unknown[];
  readonly expr?: unknown;
}

/** An element as key and value. */
function element(json: unknown): [string, string] {
  if (Array.isArray(json)) return [valueText(json[0]), valueText(json[1])];
  return [valueText(json), ""];
}

/** A value as the transactions write it. */
function valueText(json: unknown): string {
  if (typeof json === "number" || typeof json === "string") return plainWord(String(json));
  if (typeof json !== "object" || json === null) return "";
  const [kind = "", inner] = Object.entries(json)[0] ?? [];
  if (kind === "concat" && Array.isArray(inner)) return inner.map(valueText).join(" . ");
  if (kind === "elem") return valueText((inner as { readonly val?: unknown }).val);
  if (kind === "goto" || kind === "jump") {
    return `${kind} ${(inner as { readonly target?: string }).target ?? ""}`;
  }
  if (kind === "prefix") {
    const { addr, len } = inner as { readonly addr?: string; readonly len?: number };
    return `${plainWord(addr ?? "")}/${len ?? ""}`;
  }
  return JSON.stringify(json);
}

/** Addresses, marks and names of devices in one spelling; concatenations part by part. */
function plainWord(text: string): string {
  return text
    .split(" . ")
    .map((word) => {
      const bare = word.replace(/^"(.*)"$/, "$1");
      if (/^0x[0-9a-f]+$/i.test(bare)) return String(Number(bare));
      return isIP(bare) > 0 ? canonical(bare) : bare;
    })
    .join(" . ");
}

function wordsIn(json: unknown): string[] {
  if (typeof json === "string") return [json];
  if (typeof json !== "object" || json === null) return [];
  return Object.values(json).flatMap(wordsIn);
}
