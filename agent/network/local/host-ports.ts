/**
 * Ports of the host that lead to containers: which are asked for, which are free. The choice is pure; whether another
 * program has a port is asked of the kernel by binding it for a moment.
 */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import type { PortBinding } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import { usedPorts } from "../nft/used-ports.ts";

/** Ports nobody named are taken from these, as by Docker; those of the swarm's services are below. */
export const dynamicPorts = { first: 49_153, last: 65_535 } as const;

/** A port of the host that is taken. */
export type TakenPort = Pick<PortBinding, "protocol" | "hostAddress" | "hostPort">;

/** Why a port of this host cannot be had. */
export interface PortTrouble {
  /** Of the kernel. */
  readonly code: string;
  /** The one that has it, as `name (pid)`; undefined where it is not seen. */
  readonly program?: string | undefined;
}

/** Whether a program on this host has the port. */
export type PortProbe = (port: TakenPort) => Promise<PortTrouble | undefined>;

/** What is bound when nothing was named. */
function wanted(ports: readonly PortBinding[]): readonly PortBinding[] {
  const seen = new Set<string>();
  return ports.filter((port) => {
    const key = JSON.stringify([
      port.protocol,
      port.containerPort,
      port.hostAddress,
      port.hostPort,
    ]);
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
}

/**
 * The bindings with the ports of the host filled in.
 * @param taken By containers of this node and by services of the swarm.
 * @throws ClusterError `failed-precondition` in Docker's words for a port that is taken, `resource-exhausted`.
 */
export async function chooseHostPorts(
  ports: readonly PortBinding[],
  taken: readonly TakenPort[],
  probe: PortProbe,
): Promise<readonly PortBinding[]> {
  const chosen: PortBinding[] = [];
  for (const port of wanted(ports)) {
    const others = [...taken, ...chosen];
    const { hostPortLast, ...one } = port;
    if (hostPortLast !== undefined || port.hostPort === 0) {
      const range =
        port.hostPort === 0
          ? dynamicPorts
          : { first: port.hostPort, last: hostPortLast ?? port.hostPort };
      chosen.push(await oneOf(range, one, others, probe));
    } else {
      await checkFree(one, others, probe);
      chosen.push(one);
    }
  }
  return chosen;
}

async function checkFree(
  port: PortBinding,
  taken: readonly TakenPort[],
  probe: PortProbe,
): Promise<void> {
  const at = `${shownAddress(port.hostAddress)}:${port.hostPort}`;
  if (taken.some((other) => clashes(other, port))) {
    throw new ClusterError(
      "failed-precondition",
      `Bind for ${at} failed: port is already allocated`,
    );
  }
  const trouble = await probe(port);
  if (trouble === undefined) return;
  const reason =
    trouble.code === "EADDRNOTAVAIL"
      ? "cannot assign requested address: this host has no such address"
      : `address already in use by ${trouble.program ?? "a program"} on this host`;
  throw new ClusterError(
    "failed-precondition",
    `failed to bind host port ${at}/${port.protocol}: ${reason}`,
  );
}

async function oneOf(
  range: { readonly first: number; readonly last: number },
  port: PortBinding,
  taken: readonly TakenPort[],
  probe: PortProbe,
): Promise<PortBinding> {
  for (let hostPort = range.first; hostPort <= range.last; hostPort++) {
    const candidate = { ...port, hostPort };
    if (taken.some((other) => clashes(other, candidate))) continue;
    const trouble = await probe(candidate);
    if (trouble === undefined) return candidate;
    if (trouble.code !== "EADDRINUSE") await checkFree(candidate, taken, probe);
  }
  throw new ClusterError(
    "resource-exhausted",
    `all ports are allocated: none from ${range.first} to ${range.last} is free for ${port.containerPort}/${port.protocol}`,
  );
}

/** Two bindings of one port clash unless each names an address of its own. */
export function clashes(a: TakenPort, b: TakenPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false;
  if (a.hostAddress === b.hostAddress) return true;
  const [one, other] = [familyOf(a.hostAddress), familyOf(b.hostAddress)];
  if (one !== undefined && other !== undefined && one !== other) return false;
  return isAny(a.hostAddress) || isAny(b.hostAddress);
}

function isAny(address: string): boolean {
  return address === "" || address === "0.0.0.0" || address === "::";
}

/** Undefined for all addresses of both families. */
function familyOf(address: string): 4 | 6 | undefined {
  if (address === "") return undefined;
  return address.includes(":") ? 6 : 4;
}

function shownAddress(address: string): string {
  if (address === "") return "0.0.0.0";
  return address.includes(":") ? `[${address}]` : address;
}

/** Asks the kernel. SCTP is not asked for: there are no sockets of it here. */
export const bindProbe: PortProbe = async ({ protocol, hostAddress, hostPort }) => {
  if (protocol === "sctp") return undefined;
  const host = hostAddress === "" ? "0.0.0.0" : hostAddress;
  const code = await (protocol === "udp" ? probeUdp(host, hostPort) : probeTcp(host, hostPort));
  if (code !== "EADDRINUSE") return code === undefined ? undefined : { code };
  const found = await usedPorts([{ protocol, port: hostPort }]).catch(() => []);
  // Of several at different addresses the one that is in the way.
  const isHere = (address: string) => address === host || isAny(address) || isAny(host);
  return { code, program: found.find(({ address }) => isHere(address))?.program };
};

function probeTcp(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "UNKNOWN"));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

function probeUdp(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      socket.close();
      resolve(error.code ?? "UNKNOWN");
    });
    socket.bind({ address: host, port, exclusive: true }, () =>
      socket.close(() => resolve(undefined)),
    );
  });
}
