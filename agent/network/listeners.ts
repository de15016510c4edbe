/**
 * Whether the program of a task listens at the ports its service publishes: until then nobody should be led to it.
 *
 * A service with a health check says itself when it is ready. For others the published ports are a promise that somebody listens
 * there; the tables of the container's kernel tell when it is kept, without a packet. A program that does not keep it counts
 * as ready after a while all the same.
 */
import { readFile } from "node:fs/promises";
import type { PortProtocol, Task } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { drainMsOf } from "../../src/common/spec/drain-time.ts";
import { isLoopback, kernelSockets, listening } from "./drain/connections.ts";

/** A port of the container. */
export interface ListenPort {
  readonly protocol: Exclude<PortProtocol, "sctp">;
  readonly port: number;
}

/** What is waited for. */
export interface ListenTerms {
  readonly ports: readonly ListenPort[];
  readonly limitMs: number;
}

/** Tables of the sockets in a container, as the kernel writes them. */
export interface SocketTables {
  readonly tcp: string;
  readonly udp: string;
}

/** Label of services: how long a task may take until it listens, such as `30s`; `0` has it count as ready at once. */
export const listenLabel = "skep.listen";
/** When a service says nothing: few programs need longer, and those that never listen are not kept from running for long. */
const listenDefaultMs = 10_000;
/** How often the tables are read; the next thing to happen is that the managers are told. */
const listenLookMs = 50;

/** Undefined where nothing is to be waited for. The kernel lists listeners of SCTP nowhere. Pure. */
export function listenTerms(task: Task): ListenTerms | undefined {
  const ports = (task.endpoint?.spec?.ports ?? []).flatMap(({ protocol, targetPort: port }) =>
    protocol === "sctp" ? [] : [{ protocol, port }],
  );
  const label = task.serviceAnnotations?.labels[listenLabel];
  const limitMs = label === undefined ? listenDefaultMs : (drainMsOf(label) ?? listenDefaultMs);
  return ports.length === 0 || limitMs === 0 ? undefined : { ports, limitMs };
}

/** Those at which nobody listens but for the container itself. Pure. */
export function silentPorts(ports: readonly ListenPort[], tables: SocketTables): ListenPort[] {
  const sockets = { tcp: kernelSockets(tables.tcp), udp: kernelSockets(tables.udp) };
  const open = new Set(
    (["tcp", "udp"] as const).flatMap((protocol) =>
      sockets[protocol]
        .filter(({ state, localAddress }) => {
          const isOpen = protocol === "udp" || state === listening;
          return isOpen && !isLoopback(localAddress);
        })
        .map(({ localPort }) => `${protocol} ${Number.parseInt(localPort, 16)}`),
    ),
  );
  return ports.filter(({ protocol, port }) => !open.has(`${protocol} ${port}`));
}

/**
 * Waits until somebody listens at each of the ports, or the time is over.
 *
 * @param pid 0 where it is not known: nothing is waited for.
 * @returns Ports that are silent then. @throws the signal's reason.
 */
export async function untilListened(
  pid: number,
  { ports, limitMs }: ListenTerms,
  o: { readonly clock: Clock; readonly signal: AbortSignal },
  read: (pid: number) => Promise<SocketTables | undefined> = readTables,
): Promise<readonly ListenPort[]> {
  if (pid <= 0) return [];
  const end = o.clock.monotonic() + limitMs;
  for (;;) {
    const tables = await read(pid);
    // A process that has ended listens nowhere: that it has is about to be noticed, and ends this by the signal. Were it taken for
    // one that listens, a release that does not start would take the place of one that serves.
    const silent = tables === undefined ? ports : silentPorts(ports, tables);
    const leftMs = end - o.clock.monotonic();
    if (silent.length === 0 || leftMs <= 0) return silent;
    await o.clock.sleep(Math.min(listenLookMs, leftMs), o.signal);
  }
}

/** Undefined when the process has ended. */
async function readTables(pid: number): Promise<SocketTables | undefined> {
  try {
    const [tcp, udp, tcp6, udp6] = await Promise.all([
      readFile(`/proc/${pid}/net/tcp`, "latin1"),
      readFile(`/proc/${pid}/net/udp`, "latin1"),
      // Absent where the kernel has no IPv6.
      readFile(`/proc/${pid}/net/tcp6`, "latin1").catch(() => ""),
      readFile(`/proc/${pid}/net/udp6`, "latin1").catch(() => ""),
    ]);
    return { tcp: `${tcp}\n${tcp6}`, udp: `${udp}\n${udp6}` };
  } catch {
    return undefined;
  }
}
