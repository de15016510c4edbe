/**
 * The lab: one network namespace per playground with two bridges, to which the simulated hosts' links lead. Hosts on the
 * second bridge are on the far side of a partition.
 *
 * The namespace lives as long as its holder, a sleeping process; when that is killed the kernel removes bridges and links,
 * so that the machine's own network never has anything of ours.
 */
import { createHash } from "node:crypto";
import { ClusterError } from "../common/errors/cluster-error.ts";
import { startDetached } from "./detached.ts";
import { type PlaygroundProcess, processesOf } from "./processes.ts";
import { runWell } from "./run.ts";

const prefix = "10.77.0";
/** Network of every playground: each is alone in its namespace. */
export const labNetwork = `${prefix}.0/24`;
/** The lab's own address, reached by every node. */
export const labAddress = `${prefix}.1`;
/** IPv6 addresses end as those of IPv4 do, in decimal digits. */
const prefix6 = "fd77::";
const mainBridge = "skep-main";
const cutBridge = "skep-cut";

/** Address of the node with this position, from 0. Room is left below for the lab's own uses. */
export function addressOf(position: number): string {
  return `${prefix}.${11 + position}`;
}

/** The IPv6 address of what has this IPv4 address. */
export function address6Of(address: string): string {
  return `${prefix6}${address.split(".").at(-1)}`;
}

/**
 * Checks an address for a node.
 *
 * @throws ClusterError `invalid-argument` when it is not one of the lab's.
 */
export function checkAddress(address: string): void {
  const last = Number(address.match(/^10\.77\.0\.(\d{1,3})$/)?.[1]);
  if (!(last >= 2 && last <= 254)) {
    throw new ClusterError(
      "invalid-argument",
      `${address} is not between ${prefix}.2 and ${prefix}.254`,
    );
  }
}

/** The process that keeps the lab's namespace, if the lab is up. */
export function labHolder(id: string): PlaygroundProcess | undefined {
  return processesOf(id).find((found) => found.part === "lab");
}

/** Makes the lab unless it is there; resolves with the holder's pid. */
export async function startLab(id: string, logFile: string): Promise<number> {
  const there = labHolder(id);
  if (there !== undefined) return there.pid;
  const script = [
    "set -e",
    "ip link set lo up",
    // Without an address of its own a bridge takes that of one of its links, and another when a host goes or comes.
    `ip link add ${mainBridge} address ${hardwareAddressOf(mainBridge)} type bridge mcast_snooping 0`,
    `ip link add ${cutBridge} address ${hardwareAddressOf(cutBridge)} type bridge mcast_snooping 0`,
    `ip addr add ${labAddress}/24 dev ${mainBridge}`,
    `ip addr add ${address6Of(labAddress)}/64 dev ${mainBridge} nodad`,
    `ip link set ${mainBridge} up`,
    `ip link set ${cutBridge} up`,
    "echo ready",
    "exec sleep infinity >/dev/null",
  ].join("\n");
  return startDetached(["unshare", "--net", "sh", "-c", script], { id, part: "lab", logFile });
}

/** A host's place in the lab. */
export interface Attachment {
  readonly labPid: number;
  /** Any process in the host's network namespace. */
  readonly hostPid: number;
  /** Name of the node, and of its link in the lab. */
  readonly node: string;
  readonly address: string;
  readonly cut: boolean;
}

/** Leads a link from the host's `eth0` to the lab and gives the host its address. */
export async function attach(a: Attachment): Promise<void> {
  // After a crash the kernel may not yet have removed the link of the host's former life.
  await ipIn(a.labPid, [`link del dev ${a.node}`], { force: true });
  await ipIn(a.labPid, [
    `link add name ${a.node} type veth peer name eth0 address ${hardwareAddressOf(a.node)} netns ${a.hostPid}`,
    `link set dev ${a.node} master ${bridgeFor(a.cut)} up`,
  ]);
  await ipIn(a.hostPid, ["link set lo up", ...addressLines(a.address)]);
}

/** Gives a host another address; connections from and to the old one end by timeout, as on a real network. */
export async function readdress(hostPid: number, address: string): Promise<void> {
  await ipIn(hostPid, ["addr flush dev eth0", ...addressLines(address)]);
}

/** Puts hosts on one side of the partition or the other. */
export async function place(
  labPid: number,
  nodes: readonly { name: string; cut: boolean }[],
): Promise<void> {
  await ipIn(
    labPid,
    nodes.map((node) => `link set dev ${node.name} master ${bridgeFor(node.cut)}`),
  );
}

function addressLines(address: string): string[] {
  return [
    `addr add ${address}/24 dev eth0`,
    // At once usable, as nobody else has it.
    `addr add ${address6Of(address)}/64 dev eth0 nodad`,
    "link set eth0 up",
    `route replace default via ${labAddress}`,
    `route replace default via ${address6Of(labAddress)}`,
  ];
}

/**
 * The address of what has this name in the lab, of those that anyone may give. It is the same after every boot, as a network
 * card keeps its own: neighbours that remember another one send into the void until they notice, over IPv6 for up to a
 * minute.
 */
function hardwareAddressOf(name: string): string {
  const digits = createHash("sha256").update(name).digest("hex").slice(0, 10);
  return `02${digits.replace(/../g, ":$&")}`;
}

function bridgeFor(cut: boolean): string {
  return cut ? cutBridge : mainBridge;
}

/** Runs lines of `ip` in the network namespace of a process. */
async function ipIn(
  pid: number,
  lines: readonly string[],
  o: { force?: boolean } = {},
): Promise<void> {
  const words = ["nsenter", `--net=/proc/${pid}/ns/net`, "ip", "-batch", "-"];
  const input = `${lines.join("\n")}\n`;
  await runWell(o.force === true ? ["sh", "-c", '"$@" 2>/dev/null || :', "sh", ...words] : words, {
    input,
  });
}
