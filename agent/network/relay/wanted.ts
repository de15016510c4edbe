/**
 * Ports of the host that the kernel's rules cannot lead where they should: connections over IPv6 to containers that have
 * IPv4 alone, and those to ::1, which the kernel leads nowhere else. Pure.
 *
 * TCP only. Who is called by one of these sees the node as the caller, as with Docker's own proxy.
 */
import { isIPv6 } from "node:net";
import type { HostBinding, PublishedPort } from "../nft/host-tables.ts";

/** A socket of the node's, and where its connections go on. */
export interface Relay {
  /** An address of IPv6. */
  readonly host: string;
  readonly port: number;
  readonly to: { readonly host: string; readonly port: number };
}

const loopback6 = "::1";

/** The relays of a node; each has a place of its own. */
export function wantedRelays(
  bindings: readonly HostBinding[],
  published: readonly PublishedPort[],
): Relay[] {
  const all = [...bindings.flatMap(relaysOf), ...published.flatMap(relaysOfPublished)];
  return [...new Map(all.map((relay) => [relayKey(relay), relay])).values()];
}

/** Names the socket of a relay. */
export function relayKey({ host, port }: Pick<Relay, "host" | "port">): string {
  return `[${host}]:${port}`;
}

function relaysOf(binding: HostBinding): Relay[] {
  const { protocol, hostAddress, hostPort, addresses, containerPort } = binding;
  const isForIpv6 = hostAddress === "" || isIPv6(hostAddress);
  if (protocol !== "tcp" || !isForIpv6) return [];
  const isAll = hostAddress === "" || hostAddress === "::";
  const six = addresses.find(isIPv6);
  const [first] = addresses;
  if (six === undefined && first !== undefined) {
    const to = { host: first, port: containerPort };
    return [{ host: isAll ? "::" : hostAddress, port: hostPort, to }];
  }
  if (six === undefined || !(isAll || hostAddress === loopback6)) return [];
  return [{ host: loopback6, port: hostPort, to: { host: six, port: containerPort } }];
}

/** Rules lead what comes to 127.0.0.1. */
function relaysOfPublished({ protocol, port, at }: PublishedPort): Relay[] {
  if (protocol !== "tcp" || at !== undefined) return [];
  return [{ host: loopback6, port, to: { host: "127.0.0.1", port } }];
}
