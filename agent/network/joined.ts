/**
 * What a container that is about to start gets of networks. Pure.
 */
import type { Container } from "../../src/common/container/types.ts";
import type { Sandbox } from "./sandbox.ts";

/** What it gets. */
export interface Joined {
  /** File that keeps its network namespace. */
  readonly path: string;
  readonly hosts: readonly { readonly address: string; readonly names: readonly string[] }[];
  /** Undefined: those of the node, or its own. */
  readonly nameserver: string | undefined;
  /** Where it reaches programs of its node; undefined where it does not. */
  readonly hostGateway?: string;
}

/** The container's own names at its addresses, as Docker writes them. */
export function hostsOf(container: Container, sandbox: Sandbox): Joined["hosts"] {
  const { overlays, bridges, parents = [], gateway } = sandbox;
  const { hostname, domainName } = container.config;
  const own = hostname === "" ? container.id.slice(0, 12) : hostname;
  const names = domainName === "" ? [own] : [`${own}.${domainName}`, own];
  const inNetworks = [...overlays, ...bridges, ...parents].flatMap(({ addresses }) => addresses);
  // A task that is in no network but the mesh's has its address there.
  const found = inNetworks.length > 0 || gateway === undefined ? inNetworks : [gateway];
  return found.map(({ address }) => ({ address, names }));
}
