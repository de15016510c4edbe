/**
 * Which devices the host has, and which prefixes it has routes for, from the kernel's tables below /proc. The default routes are left out.
 */
import { readFileSync } from "node:fs";
import type { IpPrefix } from "../../../src/common/spec/cidr.ts";

/** @param isOwn Whether a device is one of ours: its routes are in nobody's way. */
export function hostRoutes(isOwn: (device: string) => boolean): readonly IpPrefix[] {
  return [
    ...routes4(readTable("/proc/net/route"), isOwn),
    ...routes6(readTable("/proc/net/ipv6_route"), isOwn),
  ];
}

/** Whether the daemon's own network has a device of this name. */
export function hasDevice(name: string): boolean {
  return readTable("/proc/net/dev")
    .split("\n")
    .some((line) => line.trim().startsWith(`${name}:`));
}

/** Empty where the kernel has no such protocol. */
function readTable(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Of /proc/net/route, whose numbers are in the byte order of the machine (little, on all that Skep runs on). */
export function routes4(table: string, isOwn: (device: string) => boolean): readonly IpPrefix[] {
  return table
    .split("\n")
    .slice(1)
    .flatMap((line): IpPrefix[] => {
      const fields = line.split("\t").map((field) => field.trim());
      const [device = "", destination = "", mask = ""] = [fields[0], fields[1], fields[7]];
      const length = swapped(mask).toString(2).replaceAll("0", "").length;
      if (device === "" || isOwn(device) || mask === "" || length === 0) return [];
      return [{ family: 4, value: swapped(destination), length }];
    });
}

function swapped(hex: string): bigint {
  const bytes = hex.match(/../g) ?? [];
  return BigInt(`0x${bytes.reverse().join("") || "0"}`);
}

/** Of /proc/net/ipv6_route; multicast, link-local and single addresses are left out. */
export function routes6(table: string, isOwn: (device: string) => boolean): readonly IpPrefix[] {
  return table.split("\n").flatMap((line): IpPrefix[] => {
    const fields = line.trim().split(/\s+/);
    const [destination = "", lengthText = ""] = fields;
    const device = fields.at(-1) ?? "";
    const length = Number.parseInt(lengthText, 16);
    if (fields.length < 10 || isOwn(device) || length === 0 || length === 128) return [];
    if (/^(ff|fe[89ab])/.test(destination)) return [];
    return [{ family: 6, value: BigInt(`0x${destination}`), length }];
  });
}
