/**
 * The TCP connections that clients have to the programs of a container, as its kernel tables say.
 */
import { readFile } from "node:fs/promises";

/** One line of /proc/net/tcp, tcp6, udp or udp6; numbers as they are there. */
export interface KernelSocket {
  readonly localAddress: string;
  readonly localPort: string;
  readonly remoteAddress: string;
  readonly state: string;
}

const established = "01";
/** State of a TCP socket that is called. */
export const listening = "0A";
const loopback6 = "00000000000000000000000001000000";
/** How an address of IPv4 begins in tcp6. */
const mapped4 = "0000000000000000FFFF0000";

/** Open connections to the network namespace of a process; undefined when there is none to be read. */
export async function openConnections(pid: number): Promise<number | undefined> {
  if (pid <= 0) return undefined;
  try {
    const tcp = await readFile(`/proc/${pid}/net/tcp`, "latin1");
    // Absent where the kernel has no IPv6.
    const tcp6 = await readFile(`/proc/${pid}/net/tcp6`, "latin1").catch(() => "");
    return countConnections(`${tcp}\n${tcp6}`);
  } catch {
    return undefined; // It has ended.
  }
}

/**
 * TCP connections that programs in the network namespace of a process have been given since it was made, those of the container
 * to itself included; undefined when there is none to be read. The kernel's `PassiveOpens` of RFC 2012.
 */
export async function connectionsTaken(pid: number): Promise<number | undefined> {
  if (pid <= 0) return undefined;
  try {
    return passiveOpens(await readFile(`/proc/${pid}/net/snmp`, "latin1"));
  } catch {
    return undefined; // It has ended.
  }
}

/** A line names the counters of a protocol, the next one gives them. Pure. */
export function passiveOpens(text: string): number | undefined {
  const [names, values] = text.split("\n").filter((line) => line.startsWith("Tcp:"));
  const at = names?.split(" ").indexOf("PassiveOpens") ?? -1;
  const count = at < 0 ? Number.NaN : Number(values?.split(" ")[at]);
  return Number.isNaN(count) ? undefined : count;
}

/** Established connections to ports that are listened on, but for those of the container to itself. Pure. */
export function countConnections(text: string): number {
  const sockets = kernelSockets(text);
  const ports = new Set(
    sockets.filter(({ state }) => state === listening).map(({ localPort }) => localPort),
  );
  return sockets.filter(
    ({ state, localPort, remoteAddress }) =>
      state === established && ports.has(localPort) && !isLoopback(remoteAddress),
  ).length;
}

/** The sockets in the text of a table. Pure. */
export function kernelSockets(text: string): KernelSocket[] {
  return text.split("\n").flatMap((line) => {
    const match =
      /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):[0-9A-F]{4} ([0-9A-F]{2}) /.exec(
        line,
      );
    if (match === null) return [];
    const [, localAddress = "", localPort = "", remoteAddress = "", state = ""] = match;
    return [{ localAddress, localPort, remoteAddress, state }];
  });
}

/** Whether it is a loopback address. Words are written with their bytes the other way round: 127.0.0.1 is 0100007F. */
export function isLoopback(address: string): boolean {
  const v4 = address.startsWith(mapped4) ? address.slice(mapped4.length) : address;
  return address === loopback6 || (v4.length === 8 && v4.endsWith("7F"));
}
