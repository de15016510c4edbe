/**
 * The OCI runtime spec of a container: Docker's defaults with what the container's configuration says, as one pure step.
 *
 * Everything that has to be looked up (user, mounts, devices, namespaces of others, limits of the node) is an argument.
 */
import { maskedPaths, readonlyPaths } from "../../../src/common/container/hidden-paths.ts";
import type { ContainerConfig } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type {
  OciDevice,
  OciDeviceRule,
  OciMount,
  OciNamespace,
  OciResources,
  OciSpec,
} from "./oci-types.ts";
import type { ProcessUser } from "./seams.ts";
import type { OciSeccomp } from "./seccomp.ts";

/** Everything a spec is made from. */
export interface SpecInput {
  readonly config: ContainerConfig;
  /** Program and arguments, image defaults filled in, without init. */
  readonly args: readonly string[];
  /** Complete but for HOME, which depends on the user. */
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly hostname: string;
  readonly user: ProcessUser;
  readonly capabilities: readonly string[];
  readonly seccomp: OciSeccomp | undefined;
  /** Namespaces that are shared: undefined for one of its own, "host" for the node's, else a path. */
  readonly shared: {
    readonly network: string | undefined;
    readonly pid: string | undefined;
    readonly ipc: string | undefined;
    readonly uts: string | undefined;
    readonly cgroup: string | undefined;
  };
  /** Mounts of the user and the files the node makes, in any order. */
  readonly mounts: readonly OciMount[];
  /** Source of /dev/shm when it is another's. */
  readonly shmSource: string | undefined;
  readonly devices: readonly (OciDevice & { readonly access: string })[];
  readonly resources: OciResources;
  /** Absolute in the cgroup tree. */
  readonly cgroupsPath: string;
  readonly cgroupVersion: 1 | 2;
  /** Program put before the container's; undefined for none. */
  readonly initPath: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Size of /dev/shm when nothing is said, bytes. */
const shmBytesDefault = 64 * 1024 * 1024;
/** Where the init lies in the container, as with Docker. */
const initTarget = "/sbin/docker-init";

/** @throws ClusterError invalid-argument for ulimits and sysctls that cannot be. */
export function ociSpec(input: SpecInput): OciSpec {
  const { config, shared } = input;
  const rootfsPropagation = propagationOf(input.mounts);
  const annotations = { ...config.annotations, ...input.annotations };
  return {
    ociVersion: "1.0.2",
    process: processOf(input),
    root: { path: "rootfs", readonly: config.readOnly },
    ...(shared.uts === undefined && { hostname: input.hostname }),
    mounts: mountsOf(input),
    ...(Object.keys(annotations).length > 0 && { annotations }),
    linux: {
      namespaces: namespacesOf(input),
      cgroupsPath: input.cgroupsPath,
      resources: { ...input.resources, devices: deviceRulesOf(input) },
      devices: input.devices.map(({ access: _access, ...device }) => device),
      sysctl: sysctlsOf(input),
      maskedPaths: config.privileged ? [] : maskedPaths,
      readonlyPaths: config.privileged ? [] : readonlyPaths,
      ...(rootfsPropagation !== undefined && { rootfsPropagation }),
      ...(input.seccomp !== undefined && !config.privileged && { seccomp: input.seccomp }),
    },
  };
}

function processOf(input: SpecInput): OciSpec["process"] {
  const { config, user, capabilities } = input;
  const env = input.env.some((entry) => entry.startsWith("HOME="))
    ? input.env
    : [...input.env, `HOME=${user.home}`];
  // A program that is not root starts with none, but may get them by a file that has them.
  const active = user.uid === 0 ? capabilities : [];
  return {
    terminal: config.tty,
    ...(config.tty && config.consoleSize !== undefined ? { consoleSize: config.consoleSize } : {}),
    user: {
      uid: user.uid,
      gid: user.gid,
      ...(user.additionalGids.length > 0 && { additionalGids: user.additionalGids }),
    },
    args: input.initPath === undefined ? input.args : [initTarget, "--", ...input.args],
    env,
    cwd: input.workingDir === "" ? "/" : input.workingDir,
    capabilities: {
      bounding: capabilities,
      effective: active,
      permitted: active,
      inheritable: [],
    },
    rlimits: config.ulimits.map(({ name, soft, hard }) => ({
      type: rlimitOf(name),
      soft: unsigned(soft),
      hard: unsigned(hard),
    })),
    noNewPrivileges: config.privileges?.noNewPrivileges ?? false,
    oomScoreAdj: config.oomScoreAdj,
  };
}

const rlimits: ReadonlySet<string> = new Set([
  "as",
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
]);

function rlimitOf(name: string): string {
  const word = name.toLowerCase().replace(/^rlimit_/, "");
  if (!rlimits.has(word)) {
    throw new ClusterError("invalid-argument", `invalid ulimit type: ${name}`);
  }
  return `RLIMIT_${word.toUpperCase()}`;
}

/** -1 stands for no limit, which is the largest unsigned number; as a number of JSON it has to be written as such. */
function unsigned(value: number): number {
  return value < 0 ? unlimited : value;
}

/** 2^64 - 1 is not a JavaScript number: `specJson` writes this one out in full. */
const unlimited = 2 ** 64;
/** Quotes within a JSON string have a backslash before them, so that no text of the user's looks like this. */
const unlimitedPattern = new RegExp(`"(soft|hard)":${unlimited}`, "g");

/** The spec as JSON. */
export function specJson(spec: OciSpec): string {
  return JSON.stringify(spec).replaceAll(unlimitedPattern, '"$1":18446744073709551615');
}

function namespacesOf({ shared, cgroupVersion }: SpecInput): OciNamespace[] {
  const list: OciNamespace[] = [{ type: "mount" }];
  const add = (type: OciNamespace["type"], place: string | undefined) => {
    if (place === "host") return;
    list.push(place === undefined ? { type } : { type, path: place });
  };
  add("network", shared.network);
  add("uts", shared.uts);
  add("pid", shared.pid);
  add("ipc", shared.ipc);
  // Under version 1 containers see the node's cgroups, as with Docker.
  add("cgroup", shared.cgroup ?? (cgroupVersion === 2 ? undefined : "host"));
  return list;
}

function mountsOf(input: SpecInput): OciMount[] {
  const { initPath } = input;
  const system = systemMounts(input);
  const own = [
    ...input.mounts,
    ...(initPath === undefined
      ? []
      : [
          {
            destination: initTarget,
            type: "bind",
            source: initPath,
            options: ["bind", "ro"],
          },
        ]),
  ];
  const taken = new Set(own.map((mount) => mount.destination));
  const kept = system.filter(
    // Who mounts something over /dev brings what is in it.
    ({ destination }) =>
      !taken.has(destination) && !(taken.has("/dev") && destination.startsWith("/dev/")),
  );
  // Parents first, so that nothing is hidden by a mount above it.
  const depth = (path: string) => path.split("/").filter((part) => part !== "").length;
  const sorted = own.sort((a, b) => depth(a.destination) - depth(b.destination));
  return [...kept, ...sorted];
}

function systemMounts({ config, shmSource, cgroupVersion }: SpecInput): OciMount[] {
  const quiet = ["nosuid", "noexec", "nodev"];
  const write = config.privileged ? "rw" : "ro";
  const shmBytes = config.shmSizeBytes > 0 ? config.shmSizeBytes : shmBytesDefault;
  return [
    { destination: "/proc", type: "proc", source: "proc", options: quiet },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, write] },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [...quiet, write, ...(cgroupVersion === 1 ? ["relatime"] : [])],
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet },
    shmSource === undefined
      ? {
          destination: "/dev/shm",
          type: "tmpfs",
          source: "shm",
          options: [...quiet, "mode=1777", `size=${shmBytes}`],
        }
      : {
          destination: "/dev/shm",
          type: "bind",
          source: shmSource,
          options: ["rbind", "rprivate", ...quiet],
        },
  ];
}

/** The root must let through what one of the mounts is to let through. */
function propagationOf(mounts: readonly OciMount[]): string | undefined {
  const options = new Set(mounts.flatMap((mount) => mount.options ?? []));
  if (options.has("rshared") || options.has("shared")) return "shared";
  if (options.has("rslave") || options.has("slave")) return "rslave";
  return undefined;
}

function deviceRulesOf({ config, devices }: SpecInput): OciDeviceRule[] {
  if (config.privileged) return [{ allow: true, access: "rwm" }];
  return [
    { allow: false, access: "rwm" },
    ...defaultDevices,
    ...devices
      .filter(({ type }) => type !== "p")
      .map(({ type, major, minor, access }) => ({
        allow: true,
        type: type as "b" | "c",
        major,
        minor,
        access,
      })),
    ...(config.deviceRules ?? []).map(({ type, major, minor, access }) => ({
      allow: true,
      type,
      ...(major !== undefined && { major }),
      ...(minor !== undefined && { minor }),
      access,
    })),
  ];
}

/** What every container may use, as with Docker: making any node, and null, zero, full, random, tty, pts. */
const defaultDevices: readonly OciDeviceRule[] = [
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...(
    [
      [1, 3],
      [1, 5],
      [1, 7],
      [1, 8],
      [1, 9],
      [5, 0],
      [5, 1],
      [5, 2],
    ] as const
  ).map(([major, minor]) => ({ allow: true, type: "c" as const, major, minor, access: "rwm" })),
  { allow: true, type: "c", major: 136, access: "rwm" },
];

function sysctlsOf({ config, shared }: SpecInput): Record<string, string> {
  const sysctls: Record<string, string> = Object.create(null);
  if (shared.network === undefined) {
    // As Docker does: no need of root for low ports and for ping in a network of its own.
    sysctls["net.ipv4.ip_unprivileged_port_start"] = "0";
    sysctls["net.ipv4.ping_group_range"] = "0 2147483647";
  }
  for (const [name, value] of Object.entries(config.sysctls)) {
    const refuse = (why: string) => {
      throw new ClusterError("invalid-argument", `sysctl "${name}" is not allowed ${why}`);
    };
    if (name.startsWith("net.")) {
      if (shared.network === "host") refuse("as host network mode is enabled");
    } else if (/^(kernel\.(msg|sem|shm)|fs\.mqueue\.)/.test(name)) {
      if (shared.ipc === "host") refuse("as host ipc mode is enabled");
    } else if (name === "kernel.domainname" || name === "kernel.hostname") {
      if (shared.uts === "host") refuse("as host uts mode is enabled");
    } else refuse("in a container: it is not of a namespace of its own");
    sysctls[name] = value;
  }
  if (config.domainName !== "" && shared.uts === undefined) {
    sysctls["kernel.domainname"] ??= config.domainName;
  }
  return sysctls;
}
