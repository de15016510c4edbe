/**
 * Chains of others that drop or refuse packets of the node: no table of ours overrides them. Pure.
 */
import type { ForeignChain } from "../../../src/common/container/data-path.ts";
import type { RulesetEntry } from "../nft/forward-rules.ts";

/**
 * Chains with a hook among `nft -j list ruleset`, besides those of daemons of ours, that may keep packets back themselves or
 * through the chains they lead to.
 */
export function foreignChains(json: string): ForeignChain[] {
  const { nftables } = JSON.parse(json) as { nftables: readonly RulesetEntry[] };
  const rules = new Map<string, (readonly object[])[]>();
  for (const { rule } of nftables) {
    if (rule === undefined) continue;
    const key = `${rule.family} ${rule.table} ${rule.chain}`;
    rules.set(key, [...(rules.get(key) ?? []), rule.expr ?? []]);
  }
  const found: ForeignChain[] = [];
  for (const { chain } of nftables) {
    if (chain?.hook === undefined || chain.type !== "filter") continue;
    const { family, table, name, hook } = chain;
    if (ours.test(table)) continue;
    const place = `${family} ${table}`;
    const own = rules.get(`${place} ${name}`) ?? [];
    const isClosed = chain.policy === "drop" || isUnconditional(own.at(-1) ?? []);
    if (!isClosed && !keepsBack(place, name, rules, new Set())) continue;
    found.push({ family, table, chain: name, hook, drops: isClosed ? "rest" : "some" });
  }
  return found;
}

/** Names of tables of ours, whichever daemon's. */
const ours = /^skep(_|$)/;

function keepsBack(
  place: string,
  chain: string,
  rules: ReadonlyMap<string, readonly (readonly object[])[]>,
  seen: Set<string>,
): boolean {
  if (seen.has(chain)) return false;
  seen.add(chain);
  const expressions = (rules.get(`${place} ${chain}`) ?? []).flat();
  return expressions.some((expression) => {
    if ("drop" in expression || "reject" in expression || "queue" in expression) return true;
    const { jump, goto: leads } = expression as Readonly<Record<string, { target?: string }>>;
    const target = jump?.target ?? leads?.target;
    return target !== undefined && keepsBack(place, target, rules, seen);
  });
}

/** A rule without conditions that drops or refuses. */
function isUnconditional(expressions: readonly object[]): boolean {
  const kinds = expressions.flatMap((expression) => Object.keys(expression));
  const harmless = kinds.every((kind) => ["counter", "log", "drop", "reject"].includes(kind));
  return harmless && kinds.some((kind) => kind === "drop" || kind === "reject");
}
