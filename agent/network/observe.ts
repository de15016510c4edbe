/**
 * What the kernel holds now, from the thread that speaks to it, else from the JSON of `ip` and `bridge`. Parsing is pure.
 *
 * What the kernel makes by itself is left out: link-local addresses, routes of addresses, learned entries.
 */

import {
  type Address,
  type Forwarding,
  type Link,
  mainTable,
  type Neighbour,
  type Route,
  type Rule,
  type SpaceContents,
  type SpaceState,
  spaceState,
} from "./model.ts";
import { command, readSettings } from "./namespace.ts";
import type { KernelThread } from "./nft/library.ts";
import { canonical } from "./pools.ts";

/** What to look at; the rest takes its time. */
export interface Look {
  /** Rules, neighbours and forwarding tables too. */
  readonly everything: boolean;
  /** Settings to read. */
  readonly settings: readonly string[];
}

/** Reads one namespace. @throws ClusterError unavailable when it cannot be read. */
export async function observe(
  file: string | undefined,
  { everything, settings }: Look,
  thread: Pick<KernelThread, "look">,
): Promise<SpaceState> {
  const contents = (await thread.look(file, everything)) ?? (await byPrograms(file, everything));
  return spaceState({ ...contents, settings: [...(await readSettings(file, settings))] });
}

async function byPrograms(file: string | undefined, all: boolean): Promise<SpaceContents> {
  const ask = async (...words: readonly string[]): Promise<readonly unknown[]> => {
    const { stdout } = await command(words, { file });
    // A table without entries is no text at all in some versions.
    const value: unknown = JSON.parse(stdout.trim() || "[]");
    return Array.isArray(value) ? value : [];
  };
  const devices = await ask("ip", "-json", "-details", "addr");
  const routes = await ask("ip", "-json", "route", "show", "table", "all");
  const rules4 = all ? await ask("ip", "-json", "rule") : [];
  const rules6 = all ? await ask("ip", "-6", "-json", "rule") : [];
  const neighbours = all ? await ask("ip", "-json", "neigh", "show", "nud", "permanent") : [];
  const forwarding = all ? await ask("bridge", "-json", "fdb") : [];
  return {
    links: devices.flatMap(linkFrom),
    addresses: devices.flatMap(addressesFrom),
    routes: routes.flatMap(routeFrom),
    rules: [...rules4.flatMap(ruleFrom(4)), ...rules6.flatMap(ruleFrom(6))],
    neighbours: neighbours.flatMap(neighbourFrom),
    forwarding: forwarding.flatMap(forwardingFrom),
  };
}

/** A device; none for kinds the data path does not have. */
export function linkFrom(json: unknown): Link[] {
  const info = field(json, "linkinfo");
  const kind = text(info, "info_kind");
  if (!isKnownKind(kind)) return [];
  const data = field(info, "info_data");
  const through = text(data, "link");
  return [
    {
      name: text(json, "ifname"),
      kind,
      mtu: number(json, "mtu"),
      mac: text(json, "address"),
      master: text(json, "master"),
      hairpin: field(field(info, "info_slave_data"), "hairpin") === true,
      peer: undefined,
      vxlan:
        kind === "vxlan"
          ? {
              id: number(data, "id"),
              local: text(data, "local") || text(data, "local6"),
              port: number(data, "port"),
              through,
            }
          : undefined,
    },
  ];
}

function isKnownKind(kind: string): kind is Link["kind"] {
  return ["veth", "bridge", "vxlan", "macvlan", "ipvlan"].includes(kind);
}

/** Addresses of a device. */
export function addressesFrom(json: unknown): Address[] {
  const device = text(json, "ifname");
  if (device === "lo") return [];
  return list(field(json, "addr_info")).flatMap((info) => {
    if (text(info, "scope") === "link") return [];
    return [{ device, address: canonical(text(info, "local")), length: number(info, "prefixlen") }];
  });
}

/** A route that was made on purpose. */
export function routeFrom(json: unknown): Route[] {
  // Those that come with addresses, and those of other types, are the kernel's.
  if (text(json, "protocol") === "kernel" || text(json, "type") !== "") return [];
  const table = text(json, "table");
  const metric = number(json, "metric");
  return [
    {
      device: text(json, "dev"),
      destination: text(json, "dst"),
      via: text(json, "gateway"),
      source: text(json, "prefsrc"),
      table: table === "" || table === "main" ? mainTable : Number(table),
      // What IPv6 routes have when nothing is said.
      metric: metric === 1024 ? 0 : metric,
    },
  ];
}

/** Makes rules that send marked packets somewhere from those of one family. */
export function ruleFrom(family: 4 | 6): (json: unknown) => Rule[] {
  return (json) => {
    const mark = text(json, "fwmark");
    if (mark === "") return [];
    return [
      {
        family,
        preference: number(json, "priority"),
        mark: Number(mark),
        mask: Number(text(json, "fwmask") || "0xffffffff"),
        table: Number(text(json, "table")),
      },
    ];
  };
}

/** An entry that stays. */
export function neighbourFrom(json: unknown): Neighbour[] {
  const mac = text(json, "lladdr");
  if (mac === "") return [];
  return [{ device: text(json, "dev"), address: canonical(text(json, "dst")), mac }];
}

/** An entry that was made on purpose. */
export function forwardingFrom(json: unknown): Forwarding[] {
  const device = text(json, "ifname");
  const mac = text(json, "mac");
  const destination = text(json, "dst");
  const state = text(json, "state");
  if (destination !== "" && state === "permanent") {
    return [{ device, mac, destination: canonical(destination) }];
  }
  return state === "static" ? [{ device, mac, destination: "" }] : [];
}

function field(json: unknown, name: string): unknown {
  if (typeof json !== "object" || json === null) return undefined;
  return (json as Readonly<Record<string, unknown>>)[name];
}

function text(json: unknown, name: string): string {
  const value = field(json, name);
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

function number(json: unknown, name: string): number {
  return Number(text(json, name));
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
