/**
 * Linux capabilities of a container: Docker's default set, and what adding and dropping make of it.
 */
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** Every capability this version knows, in the kernel's order: the position is the bit. */
export const allCapabilities: readonly string[] = [
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "KILL",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "LINUX_IMMUTABLE",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_CHROOT",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "MKNOD",
  "LEASE",
  "AUDIT_WRITE",
  "AUDIT_CONTROL",
  "SETFCAP",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
].map((name) => `CAP_${name}`);

/** What a container gets when nothing is said, as with Docker. */
const defaultCapabilities: ReadonlySet<string> = new Set(
  [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
  ].map((name) => `CAP_${name}`),
);

/** What is said of a container's capabilities. */
export interface CapabilityWish {
  readonly privileged: boolean;
  /** With or without `CAP_`, in any case; `ALL` for every one. */
  readonly add: readonly string[];
  readonly drop: readonly string[];
  /** Those this node may hand out: its own bounding set. */
  readonly available: ReadonlySet<string>;
}

/**
 * The capabilities of a container, in the kernel's order.
 *
 * @throws ClusterError invalid-argument for an unknown name, in Docker's words.
 */
export function capabilitiesOf(wish: CapabilityWish): string[] {
  const add = wish.add.map((name) => fullName(name, "CapAdd"));
  const drop = new Set(wish.drop.map((name) => fullName(name, "CapDrop")));
  if (wish.privileged) return allCapabilities.filter((name) => wish.available.has(name));
  const added = new Set(add);
  return allCapabilities.filter((name) => {
    if (added.has("ALL")) return !drop.has(name) && wish.available.has(name);
    if (drop.has("ALL")) return added.has(name);
    return added.has(name) || (defaultCapabilities.has(name) && !drop.has(name));
  });
}

/** The capabilities of a bit mask in hexadecimal, as in `CapBnd` of /proc/self/status. */
export function capabilitiesOfMask(mask: string): ReadonlySet<string> {
  const bits = BigInt(`0x${mask}`);
  return new Set(allCapabilities.filter((_, bit) => (bits >> BigInt(bit)) & 1n));
}

function fullName(name: string, field: string): string {
  const upper = name.toUpperCase();
  if (upper === "ALL" || upper === "CAP_ALL") return "ALL";
  const full = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (allCapabilities.includes(full)) return full;
  throw new ClusterError("invalid-argument", `invalid ${field}: unknown capability: "${full}"`);
}
