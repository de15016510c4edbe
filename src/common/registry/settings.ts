/**
 * Where a registry is reached: which addresses are asked for a domain, in which order, and whether with TLS.
 *
 * As with Docker: TLS always, except for registries that were called insecure (`--insecure-registry` with a host, a host
 * and port, or a range of addresses), to which those of this machine always belong. They are tried with TLS of any
 * certificate first and plain after it. Mirrors stand before Docker's own registry only.
 */
import { lookup } from "node:dns/promises";
import { ClusterError } from "../errors/cluster-error.ts";
import { contains, parseAddress, parsePrefix } from "../spec/cidr.ts";
import { defaultDomain } from "./reference.ts";

/** What a client is told of registries. */
export interface RegistrySettings {
  /** `host`, `host:port` or a prefix such as 10.0.0.0/8; daemons add `loopbackRanges`, as Docker does. */
  readonly insecure: readonly string[];
  /** `http[s]://host[:port][/path]`. */
  readonly mirrors: readonly string[];
}

/** One address to try. */
export interface Endpoint {
  /** `scheme://host[:port][/path]`, without a slash at its end. */
  readonly base: string;
  /** `host[:port]` for the folder of certificates. */
  readonly host: string;
  /** Certificates are checked. */
  readonly verify: boolean;
  /** Docker Hub's mirrors are not given the user's password. */
  readonly mirror: boolean;
}

/** Registries on this machine need no TLS. */
export const loopbackRanges: readonly string[] = ["::1/128", "127.0.0.0/8"];

/** Registry of `docker.io`. */
const hubHost = "registry-1.docker.io";

/** The addresses of a domain, the first to be tried first. */
export async function endpointsOf(
  domain: string,
  settings: RegistrySettings,
): Promise<readonly Endpoint[]> {
  if (domain === defaultDomain) {
    const mirrors = settings.mirrors.map((mirror) => mirrorEndpoint(mirror, settings));
    return [...(await Promise.all(mirrors)).flat(), secure(hubHost)];
  }
  return (await isInsecure(domain, settings)) ? insecure(domain) : [secure(domain)];
}

/** Whether certificates of this `host[:port]` are not checked. */
export async function isInsecure(host: string, settings: RegistrySettings): Promise<boolean> {
  const name = hostName(host);
  const named = settings.insecure.some((item) => item === host || item === name);
  if (named) return true;
  const prefixes = settings.insecure.map(parsePrefix).filter((prefix) => prefix !== undefined);
  if (prefixes.length === 0) return false;
  for (const text of await addressesOf(name)) {
    const address = parseAddress(text);
    if (address !== undefined && prefixes.some((prefix) => contains(prefix, address))) return true;
  }
  return false;
}

/** @throws ClusterError `invalid-argument` for an item of `--insecure-registry` of no valid form. */
export function checkInsecureRegistry(item: string): string {
  const valid =
    parsePrefix(item) !== undefined || /^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?$/.test(item);
  if (valid) return item;
  throw new ClusterError(
    "invalid-argument",
    `--insecure-registry ${item}: give a host, host:port or a range such as 10.0.0.0/8, without a scheme`,
  );
}

/** @throws ClusterError `invalid-argument` for a mirror that is no address. */
export function checkMirror(item: string): string {
  const url = URL.canParse(item) ? new URL(item) : undefined;
  const scheme = url?.protocol === "http:" || url?.protocol === "https:";
  if (url === undefined || !scheme || url.username !== "" || url.search !== "" || url.hash !== "") {
    throw new ClusterError(
      "invalid-argument",
      `--registry-mirror ${item}: give an address such as https://mirror.example:5000`,
    );
  }
  return item.replace(/\/+$/, "");
}

/** The host without its port; an IPv6 address without its brackets. */
export function hostName(host: string): string {
  const bracketed = /^\[(.*)\](?::\d+)?$/.exec(host);
  return bracketed?.[1] ?? host.replace(/:\d+$/, "");
}

async function mirrorEndpoint(mirror: string, settings: RegistrySettings): Promise<Endpoint[]> {
  const url = new URL(mirror);
  const verify = url.protocol === "https:" && !(await isInsecure(url.host, settings));
  return [{ base: mirror.replace(/\/+$/, ""), host: url.host, verify, mirror: true }];
}

function secure(host: string): Endpoint {
  return { base: `https://${host}`, host, verify: true, mirror: false };
}

function insecure(host: string): Endpoint[] {
  return [
    { base: `https://${host}`, host, verify: false, mirror: false },
    { base: `http://${host}`, host, verify: false, mirror: false },
  ];
}

/** Addresses of a name; none when it is not known, which the connection will tell better. */
async function addressesOf(name: string): Promise<readonly string[]> {
  if (parseAddress(name) !== undefined) return [name];
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch {
    // No such name: not insecure.
    return [];
  }
}
