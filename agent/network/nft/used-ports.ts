/**
 * Published ports at which another program of this node listens: that one is no longer reached from outside, which nobody
 * would guess. Reads /proc of the daemon's own network namespace.
 */
import { readdir, readFile, readlink } from "node:fs/promises";

/** A port, and where. */
export interface PortUse {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

/** A program that listens at a published port. */
export interface UsedPort extends PortUse {
  /** Address it listens at, as /proc/net writes addresses, made readable. */
  readonly address: string;
  /** `name (pid)`, or `the kernel`. */
  readonly program: string;
}

/** A socket that waits for whoever comes. */
export interface Listener extends PortUse {
  readonly address: string;
  /** 0 for sockets of the kernel. */
  readonly inode: number;
}

const tables = [
  ["tcp", "tcp"],
  ["tcp6", "tcp"],
  ["udp", "udp"],
  ["udp6", "udp"],
] as const;

/** Who listens at these ports. */
export async function usedPorts(ports: readonly PortUse[]): Promise<readonly UsedPort[]> {
  if (ports.length === 0) return [];
  const wanted = new Set(ports.map(keyOf));
  const listeners: Listener[] = [];
  for (const [file, protocol] of tables) {
    // Without IPv6 there is no such file.
    const text = await readFile(`/proc/net/${file}`, "utf8").catch(() => "");
    listeners.push(...listenersIn(text, protocol).filter((one) => wanted.has(keyOf(one))));
  }
  if (listeners.length === 0) return [];
  const programs = await programsOf(new Set(listeners.map((listener) => listener.inode)));
  return listeners.map(({ protocol, port, address, inode }) => ({
    protocol,
    port,
    address,
    program: programs.get(inode) ?? (inode === 0 ? "the kernel" : "a program that is not seen"),
  }));
}

/** The waiting sockets in a table of /proc/net (proc(5)). Pure. */
export function listenersIn(text: string, protocol: "tcp" | "udp"): Listener[] {
  const found: Listener[] = [];
  for (const line of text.split("\n").slice(1)) {
    const [, local = "", remote = "", state, , , , , , inode] = line.trim().split(/\s+/);
    const waits = protocol === "tcp" ? state === "0A" : /^0+:0000$/.test(remote);
    const [address = "", port = ""] = local.split(":");
    if (!waits || port === "") continue;
    found.push({
      protocol,
      port: Number.parseInt(port, 16),
      address: readable(address),
      inode: Number(inode),
    });
  }
  return found;
}

/** Words of four bytes in the machine's order, which is little-endian on all that we run on. */
function readable(hex: string): string {
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => (word.match(/../g) ?? []).reverse());
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join(".");
  const pairs = bytes.join("").toLowerCase().match(/.{4}/g) ?? [];
  const groups = pairs.map((pair) => pair.replace(/^0{1,3}/, ""));
  return groups.every((group) => group === "0") ? "::" : groups.join(":");
}

/** Goes through the open files of all processes; only when there is something to tell. */
async function programsOf(inodes: ReadonlySet<number>): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    if (found.size === inodes.size) break;
    // Processes end, and their files close, while we look.
    const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const file of files) {
      const target = await readlink(`/proc/${pid}/fd/${file}`).catch(() => "");
      const inode = Number(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? 0);
      if (inode === 0 || !inodes.has(inode) || found.has(inode)) continue;
      const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
      found.set(inode, `${name.trim()} (${pid})`);
    }
  }
  return found;
}

function keyOf({ protocol, port }: PortUse): string {
  return `${protocol} ${port}`;
}
