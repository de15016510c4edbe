/**
 * The TCP connections that clients have to the programs of a container, as its kernel tables say.
 */
import { readFile } from "node:fs/promises";

/** One line of /proc/net/tcp or tcp6. */
interface TcpSocket {
  readonly localPort: string;
  readonly remoteAddress: string;
  readonly state: string;
}

const established = "01";
const listening = "0A";
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

/** Established connections to ports that are listened on, but for those of the container to itself. Pure. */
export function countConnections(text: string): number {
  const sockets = text.split("\n").flatMap(socketOf);
  const ports = new Set(
    sockets.filter(({ state }) => state === listening).map(({ localPort }) => localPort),
  );
  return sockets.filter(
    ({ state, localPort, remoteAddress }) =>
      state === established && ports.has(localPort) && !isLoopback(remoteAddress),
  ).length;
}

function socketOf(line: string): TcpSocket[] {
  const match =
    /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):[0-9A-F]{4} ([0-9A-F]{2}) /.exec(
      line,
    );
  if (match === null) return [];
  const [, localPort = "", remoteAddress = "", state = ""] = match;
  return [{ localPort, remoteAddress, state }];
}

/** Words are written with their bytes the other way round: 127.0.0.1 is 0100007F. */
function isLoopback(address: string): boolean {
  const v4 = address.startsWith(mapped4) ? address.slice(mapped4.length) : address;
  return address === loopback6 || (v4.length === 8 && v4.endsWith("7F"));
}
