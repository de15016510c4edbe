/**
 * Rules of others that keep forwarded packets from containers (Docker, ufw, firewalls of the host): what stands in the way, and
 * which rules of iptables let the data path's device pass. Pure.
 *
 * A packet that one table drops is dropped, whatever ours say, so that only a rule in the same place helps.
 */

/** A chain of others through which forwarded packets pass. */
export interface ForwardChain {
  readonly family: "ip" | "ip6" | "inet";
  readonly table: string;
  readonly chain: string;
  /** It lets nothing pass but what its rules name. */
  readonly closed: boolean;
  /** Docker's place for rules of others is in the same table. */
  readonly hasDockerUser: boolean;
}

/** Chains of forwarding in `nft -j list ruleset` besides those of tables whose names begin with `ownPrefix`. */
export function forwardChains(json: string, ownPrefix: string): ForwardChain[] {
  const { nftables } = JSON.parse(json) as { nftables: readonly RulesetEntry[] };
  const dockerUsers = new Set(
    nftables.flatMap(({ chain }) => (chain?.name === "DOCKER-USER" ? [placeOf(chain)] : [])),
  );
  const found: ForwardChain[] = [];
  for (const { chain } of nftables) {
    if (chain?.hook !== "forward" || chain.type !== "filter") continue;
    if (chain.table.startsWith(ownPrefix) || !isFamily(chain.family)) continue;
    const last = nftables.findLast(
      ({ rule }) =>
        rule !== undefined && rule.chain === chain.name && placeOf(rule) === placeOf(chain),
    );
    found.push({
      family: chain.family,
      table: chain.table,
      chain: chain.name,
      closed: chain.policy === "drop" || refusesAll(last?.rule?.expr ?? []),
      hasDockerUser: dockerUsers.has(placeOf(chain)),
    });
  }
  return found;
}

/** Whether the chain is one that iptables manages, where its program can add a rule. */
export function isOfIptables({ family, table, chain }: ForwardChain): boolean {
  return family !== "inet" && table === "filter" && chain === "FORWARD";
}

/** Our rules among those of iptables. */
export interface ForwardRules {
  readonly device: string;
  /** Comment by which they are known. */
  readonly tag: string;
}

/**
 * Arguments for iptables, one list per call, after which packets from and to the device pass.
 *
 * @param listing Of `iptables -S`.
 */
export function missingForwardRules(listing: string, rules: ForwardRules): string[][] {
  const lines = listing.split("\n");
  const docker = lines.some(
    (line) => line.startsWith("-A FORWARD") && line.includes("DOCKER-USER"),
  );
  const chain = docker ? "DOCKER-USER" : "FORWARD";
  const calls: string[][] = [];
  for (const way of ["-i", "-o"]) {
    const there = lines.some(
      (line) => line.startsWith(`-A ${chain} ${way} ${rules.device} `) && isOurs(line, rules),
    );
    if (!there) calls.push(["-I", chain, ...ruleWords(way, rules)]);
  }
  return calls;
}

/** Whether `iptables -S` says that forwarding is closed, or that Docker may close it. */
export function closesForward(listing: string): boolean {
  const lines = listing.split("\n");
  const last = lines.findLast((line) => line.startsWith("-A FORWARD ")) ?? "";
  return (
    lines.includes("-P FORWARD DROP") ||
    lines.includes("-N DOCKER-USER") ||
    /^-A FORWARD -j (DROP|REJECT)\b/.test(last)
  );
}

/** Arguments for iptables that take our rules away again. */
export function forwardRulesToRemove(listing: string, rules: ForwardRules): string[][] {
  return listing
    .split("\n")
    .filter((line) => line.startsWith("-A ") && isOurs(line, rules))
    .map((line) => {
      const [, chain = "", way = ""] = line.split(" ");
      return ["-D", chain, ...ruleWords(way, rules)];
    });
}

/** What to tell people of a chain that we leave alone. */
export function barrierText({ family, table, chain }: ForwardChain, device: string): string {
  const place = `${family} ${table} ${chain}`;
  return (
    `chain ${chain} of table ${family} ${table} drops what containers send and receive; ` +
    `let it pass with: nft insert rule ${place} iifname "${device}" accept; ` +
    `nft insert rule ${place} oifname "${device}" accept`
  );
}

/** One object of `nft -j list ruleset`, as far as chains and rules go. */
export interface RulesetEntry {
  readonly chain?: {
    readonly family: string;
    readonly table: string;
    readonly name: string;
    readonly type?: string;
    readonly hook?: string;
    readonly policy?: string;
  };
  readonly rule?: {
    readonly family: string;
    readonly table: string;
    readonly chain: string;
    readonly expr?: readonly object[];
  };
}

function isFamily(family: string): family is ForwardChain["family"] {
  return family === "ip" || family === "ip6" || family === "inet";
}

function placeOf({ family, table }: { readonly family: string; readonly table: string }): string {
  return `${family} ${table}`;
}

/**
 * A rule without conditions that drops or rejects; or one of iptables that may be so, as nft does not show what its parts
 * (`xt`) do: REJECT is one. What iptables itself says of it decides then.
 */
function refusesAll(expressions: readonly object[]): boolean {
  const kinds = expressions.flatMap((expression) => Object.keys(expression));
  const harmless = kinds.every(
    (kind) => kind === "counter" || kind === "log" || refusals.has(kind),
  );
  return harmless && kinds.some((kind) => refusals.has(kind));
}

const refusals: ReadonlySet<string> = new Set(["drop", "reject", "xt"]);

function isOurs(line: string, { tag }: ForwardRules): boolean {
  return / --comment "?([^" ]+)"?/.exec(line)?.[1] === tag;
}

function ruleWords(way: string, { device, tag }: ForwardRules): string[] {
  return [way, device, "-m", "comment", "--comment", tag, "-j", "ACCEPT"];
}
