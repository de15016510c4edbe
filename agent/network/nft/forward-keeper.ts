/**
 * Keeps forwarding open for containers on hosts where others close it: adds rules of ours to iptables where that is needed,
 * again when they were flushed, and says what it cannot help.
 */
import { readFile } from "node:fs/promises";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { Log } from "../../../src/common/log/log.ts";
import {
  barrierText,
  closesForward,
  type ForwardRules,
  forwardChains,
  forwardRulesToRemove,
  isOfIptables,
  missingForwardRules,
} from "./forward-rules.ts";
import type { Nftables } from "./library.ts";
import { runIn } from "./programs.ts";

/** Where and for what device. */
export interface ForwardKeeperOptions {
  readonly nftables: Nftables;
  readonly log: Log;
  /** Of the host, towards the containers. */
  readonly device: string;
  /** Beginning of the names of our own tables, and comment of our rules: differs between daemons of a machine. */
  readonly ownPrefix: string;
  /** The host's namespace; undefined for the daemon's own. */
  readonly namespace?: string;
}

/** One variant of iptables: of IPv4 or IPv6, in the kernel's old tables or in those of nftables. */
interface Variant {
  readonly program: string;
  readonly legacy: boolean;
}

const byFamily = { ip: "iptables", ip6: "ip6tables" } as const;

/** For one daemon. */
export class ForwardKeeper {
  readonly #o: ForwardKeeperOptions;
  readonly #rules: ForwardRules;
  /** Said, and not again until it is another. */
  #told = "";

  constructor(o: ForwardKeeperOptions) {
    this.#o = o;
    this.#rules = { device: o.device, tag: o.ownPrefix };
  }

  /** Looks, repairs, and returns what stands in the way all the same, as sentences for people. Never rejects. */
  async ensure(): Promise<readonly string[]> {
    try {
      const barriers = await this.#openAll(true);
      this.#tell(barriers);
      return barriers;
    } catch (error) {
      this.#o.log.warn("rules of others cannot be read", { err: errorText(error) });
      return [];
    }
  }

  /** What stands in the way now, as sentences with the remedy; changes nothing. */
  look(): Promise<readonly string[]> {
    return this.#openAll(false);
  }

  async #openAll(mayRepair: boolean): Promise<string[]> {
    const barriers: string[] = [];
    const chains = await this.#chains();
    for (const chain of chains.filter((one) => one.closed || one.hasDockerUser)) {
      if (chain.family !== "inet" && isOfIptables(chain)) {
        const program = byFamily[chain.family];
        barriers.push(...(await this.#open({ program, legacy: false }, mayRepair)));
      } else if (chain.closed) barriers.push(barrierText(chain, this.#o.device));
    }
    for (const variant of await this.#legacyVariants()) {
      barriers.push(...(await this.#open(variant, mayRepair)));
    }
    return barriers;
  }

  /** Takes our rules away. */
  async remove(): Promise<void> {
    const chains = await this.#chains();
    const variants: Variant[] = Object.entries(byFamily)
      .filter(([family]) => chains.some((chain) => chain.family === family && isOfIptables(chain)))
      .map(([, program]) => ({ program, legacy: false }));
    for (const variant of [...variants, ...(await this.#legacyVariants())]) {
      const { ok, output } = await this.#run(variant, ["-S"]);
      if (!ok) continue; // Without the program there are no rules of ours.
      for (const call of forwardRulesToRemove(output, this.#rules)) await this.#run(variant, call);
    }
  }

  async #chains() {
    const { namespace, ownPrefix } = this.#o;
    const [answer] = await this.#o.nftables.run([
      { namespace, what: "list", text: "list ruleset" },
    ]);
    return answer?.ok === true ? forwardChains(answer.output, ownPrefix) : [];
  }

  /** The sentences about what could not be done. */
  async #open(variant: Variant, mayRepair: boolean): Promise<string[]> {
    const { ok, output } = await this.#run(variant, ["-S"]);
    if (!ok)
      return [`${nameOf(variant)} does not say what drops forwarded packets: ${output.trim()}`];
    if (!closesForward(output)) return [];
    const missing = missingForwardRules(output, this.#rules);
    if (!mayRepair) {
      if (missing.length === 0) return [];
      const calls = missing.map((call) => `${nameOf(variant)} ${call.join(" ")}`);
      return [
        `${nameOf(variant)} drops what containers send and receive; let it pass with: ${calls.join("; ")}`,
      ];
    }
    for (const call of missing) {
      const done = await this.#run(variant, call);
      if (!done.ok) {
        return [
          `${nameOf(variant)} does not let packets of containers pass: ${done.output.trim()}`,
        ];
      }
      this.#o.log.info("forwarding is opened for containers", {
        program: nameOf(variant),
        rule: call.join(" "),
      });
    }
    return [];
  }

  /** Those of the kernel's old tables that have a filter; looking into others would make one. */
  async #legacyVariants(): Promise<Variant[]> {
    const found: Variant[] = [];
    for (const [family, program] of Object.entries(byFamily)) {
      const names = await this.#read(`/proc/net/${family}_tables_names`);
      if (names.split("\n").includes("filter")) found.push({ program, legacy: true });
    }
    return found;
  }

  async #read(path: string): Promise<string> {
    const { namespace } = this.#o;
    if (namespace === undefined) return readFile(path, "utf8").catch(() => ""); // Not in this kernel.
    return (await runIn(namespace, ["cat", path])).output;
  }

  #run(variant: Variant, args: readonly string[]) {
    return runIn(this.#o.namespace, [nameOf(variant), "-w", "5", ...args]);
  }

  #tell(barriers: readonly string[]): void {
    const text = barriers.join("; ");
    if (text !== "" && text !== this.#told) {
      this.#o.log.warn("rules of others keep packets from containers", { found: text });
    }
    this.#told = text;
  }
}

function nameOf({ program, legacy }: Variant): string {
  return legacy ? `${program}-legacy` : program;
}
