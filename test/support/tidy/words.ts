/**
 * Words that belong into no file of the project: the hosts of package registries, which every machine configures for
 * itself, and paths of one person's machine.
 */
import type { Fault } from "./source.ts";

/** Written in pieces, so that this file passes its own check. */
const registryHosts = [
  ["registry", "npmjs", "org"],
  ["deb", "debian", "org"],
  ["snapshot", "debian", "org"],
  ["deb", "nodesource", "com"],
  ["proxy", "golang", "org"],
  ["pypi", "org"],
].map((parts) => parts.join("."));
const machineFolders = ["work", "root", "home", "Users"].join("|");
const machinePath = new RegExp(`(?:^|[\\s"'\`(=:])/(?:${machineFolders})/[\\w.-]+`);

/** Lines with a forbidden word. */
export function wordFaults(path: string, text: string): Fault[] {
  const faults: Fault[] = [];
  for (const [position, line] of text.split("\n").entries()) {
    const add = (message: string) => faults.push({ path, line: position + 1, message });
    for (const host of registryHosts) {
      if (line.includes(host)) add(`names the package registry ${host}`);
    }
    const own = line.match(machinePath)?.[0];
    if (own !== undefined) add(`holds the path ${own.trim()} of one machine`);
  }
  return faults;
}
