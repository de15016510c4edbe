/**
 * What the kernel of a simulated host has of networks: read in its namespaces, whatever the daemon says.
 */
import { readdirSync } from "node:fs";
import { enter } from "../../src/playground/host.ts";
import { runWell } from "../../src/playground/run.ts";

/** A host by the pid of its first process. */
export class HostKernel {
  readonly #pid: number;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** Runs a program in the host; resolves with what it printed. */
  run(...words: string[]): Promise<string> {
    return runWell([...enter(this.#pid), ...words]);
  }

  /** Names of devices in the host's own network, but the ones a host has. */
  async devices(): Promise<readonly string[]> {
    const links = JSON.parse(await this.run("ip", "-j", "link")) as { ifname: string }[];
    return links.map(({ ifname }) => ifname).filter((name) => name !== "lo" && name !== "eth0");
  }

  /** Everything of networks that the host has, as lines to be compared with those of another time. */
  async state(): Promise<ReadonlySet<string>> {
    const parts = await Promise.all(
      Object.entries(questions).map(async ([what, words]) =>
        (await this.run(...words))
          .split("\n")
          .map((line) => line.trim())
          .filter((line) => line !== "" && !changesByItself.test(line))
          .map((line) => `${what}: ${line}`),
      ),
    );
    return new Set([...parts.flat(), ...this.#namespaces()]);
  }

  /** How the host differs from then: what is gone, and what has come. */
  async changes(before: ReadonlySet<string>): Promise<readonly string[]> {
    const now = await this.state();
    return [
      ...[...before].filter((line) => !now.has(line)).map((line) => `gone ${line}`),
      ...[...now].filter((line) => !before.has(line)),
    ];
  }

  #namespaces(): readonly string[] {
    try {
      const folder = `/proc/${this.#pid}/root/run/skep/netns`;
      return readdirSync(folder).map((name) => `namespace: ${name}`);
    } catch {
      // No folder, no namespaces.
      return [];
    }
  }
}

const questions = {
  device: ["sh", "-c", "ip -oneline link show | sed 's/^[0-9]*: //'"],
  address: ["sh", "-c", "ip -oneline address show | sed 's/^[0-9]*: //'"],
  route: ["ip", "route", "show", "table", "all"],
  route6: ["ip", "-6", "route", "show", "table", "all"],
  rule: ["ip", "rule"],
  rule6: ["ip", "-6", "rule"],
  neighbour: ["ip", "neighbour", "show", "nud", "permanent"],
  nft: ["nft", "--stateless", "list", "ruleset"],
  mount: ["findmnt", "--raw", "--noheadings", "--output", "TARGET,FSTYPE,SOURCE"],
  setting: ["sh", "-c", "sysctl --all --pattern '^net[.]' 2>/dev/null || :"],
} as const;

/** Counters of the kernel among the settings. */
const changesByItself = /^net\.netfilter\.nf_conntrack_count /;
