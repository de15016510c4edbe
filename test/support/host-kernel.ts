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

  /** What a daemon that is in no swarm and runs nothing has no use for, as lines; empty when there is nothing. */
  async remains(): Promise<readonly string[]> {
    const [devices, tables, rules, routes] = await Promise.all([
      this.devices(),
      this.run("nft", "list", "tables"),
      this.run("ip", "rule"),
      this.run("ip", "route"),
    ]);
    const lines = (text: string) => text.split("\n").filter((line) => line !== "");
    const kept = /^(0|32766|32767):/;
    return [
      ...devices.map((name) => `device ${name}`),
      ...lines(tables),
      ...lines(rules).filter((line) => !kept.test(line)),
      ...lines(routes).filter((line) => !line.includes("dev eth0")),
      ...this.#namespaces(),
    ];
  }

  #namespaces(): readonly string[] {
    try {
      const folder = `/proc/${this.#pid}/root/run/skep/netns`;
      return readdirSync(folder).map((name) => `namespace ${name}`);
    } catch {
      // No folder, no namespaces.
      return [];
    }
  }
}
