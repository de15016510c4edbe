/**
 * Configuration of one daemon: flags and the configuration file become one typed value, once, at the edge.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { GenericResource } from "../common/api/generated/api.ts";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { instanceOf } from "../common/ids/instance.ts";
import type { LogLevel } from "../common/log/log.ts";
import {
  checkInsecureRegistry,
  checkMirror,
  loopbackRanges,
  type RegistrySettings,
} from "../common/registry/settings.ts";
import { parsePrefix } from "../common/spec/cidr.ts";
import { parseHostPort } from "./address.ts";
import { type ParsedFlags, parseFlags, withConfigFile } from "./flags.ts";
import { parseGenericResources } from "./generic-resources.ts";

/** Files for mutual TLS on tcp:// addresses of the API. */
export interface ApiTlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Whether clients must show a certificate. */
  readonly verify: boolean;
}

/** Everything the daemon is told from outside. */
export interface DaemonConfig {
  /** Absolute path; default `/var/lib/skep`. */
  readonly dataRoot: string;
  /** Absolute path; default `/run/skep`. */
  readonly execRoot: string;
  readonly pidFile: string | undefined;
  /** `unix://PATH` or `tcp://HOST:PORT`; default the socket in the exec root. */
  readonly hosts: readonly string[];
  /** Group of the unix socket; `docker` where it exists. */
  readonly socketGroup: string;
  readonly apiTls: ApiTlsFiles | undefined;
  readonly logLevel: LogLevel;
  readonly debug: boolean;
  readonly engineLabels: Readonly<Record<string, string>>;
  /** What the node has beside CPU and memory. */
  readonly genericResources: readonly GenericResource[];
  /** Interface name or address, as `--advertise-addr`. */
  readonly defaultAdvertiseAddress: string | undefined;
  readonly defaultAddressPools: readonly { readonly base: string; readonly size: number }[];
  /** Whether the node has the network `bridge`, which containers are in that name none. */
  readonly hasBridge: boolean;
  readonly raftProfile: "normal" | "slow-disk";
  /** Whether BPF programs lead frames of overlay networks past their bridges. */
  readonly bridgeShortcuts: boolean;
  /** Whether containers of a service share shims where it has many on the node. */
  readonly sharedShims: boolean;
  /** As given; registries on this machine itself are trusted besides. */
  readonly registries: RegistrySettings;
  readonly ignoredFlags: readonly string[];
}

/**
 * Reads flags and the configuration file.
 *
 * @throws ClusterError invalid-argument that names the flag or key.
 */
export function loadConfig(argv: readonly string[]): DaemonConfig {
  let flags = parseFlags(argv);
  const file = last(flags, "config-file");
  if (file !== undefined) flags = withConfigFile(flags, readJson(file));
  const execRoot = folder(flags, "exec-root", "/run/skep");
  const hosts = flags.values.get("host") ?? [`unix://${join(execRoot, "docker.sock")}`];
  const debug = last(flags, "debug") === "true";
  return {
    dataRoot: folder(flags, "data-root", "/var/lib/skep"),
    execRoot,
    pidFile: last(flags, "pidfile"),
    hosts: hosts.map(checkHost),
    socketGroup: last(flags, "group") ?? "docker",
    apiTls: apiTls(flags),
    logLevel: debug ? "debug" : logLevel(last(flags, "log-level") ?? "info"),
    debug,
    engineLabels: labels(flags.values.get("label") ?? []),
    genericResources: parseGenericResources(flags.values.get("node-generic-resource") ?? []),
    defaultAdvertiseAddress: last(flags, "swarm-default-advertise-addr"),
    defaultAddressPools: (flags.values.get("default-address-pool") ?? []).map(addressPool),
    hasBridge: hasBridge(last(flags, "bridge") ?? ""),
    raftProfile: profile(last(flags, "raft-profile") ?? "normal"),
    bridgeShortcuts: last(flags, "bridge-shortcuts") !== "false",
    sharedShims: last(flags, "shared-shims") !== "false",
    registries: {
      insecure: [
        ...(flags.values.get("insecure-registry") ?? []).map(checkInsecureRegistry),
        ...loopbackRanges,
      ],
      mirrors: (flags.values.get("registry-mirror") ?? []).map(checkMirror),
    },
    ignoredFlags: flags.ignored,
  };
}

/** Path of a run-time socket that is short enough for the kernel and differs between data roots. */
export function runtimeSocket(config: DaemonConfig, name: string): string {
  return join(config.execRoot, `${name}-${instanceOf(config.dataRoot)}.sock`);
}

function last(flags: ParsedFlags, name: string): string | undefined {
  return flags.values.get(name)?.at(-1);
}

function folder(flags: ParsedFlags, name: string, otherwise: string): string {
  const path = last(flags, name) ?? otherwise;
  // An unset variable in a start script would make it the working directory.
  if (path === "") throw new ClusterError("invalid-argument", `--${name}: give a folder`);
  return resolve(path);
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new ClusterError("invalid-argument", `configuration file ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function checkHost(host: string): string {
  if (/^unix:\/\/\/.+/.test(host)) return host;
  if (/^tcp:\/\/.+:\d+$/.test(host)) {
    parseHostPort(host.slice("tcp://".length), 0, "--host");
    return host;
  }
  throw new ClusterError(
    "invalid-argument",
    `--host ${host}: give unix:///PATH or tcp://ADDRESS:PORT`,
  );
}

function logLevel(text: string): LogLevel {
  if (text === "debug" || text === "info" || text === "warn" || text === "error") return text;
  if (text === "fatal") return "error";
  throw new ClusterError(
    "invalid-argument",
    `--log-level ${text}: give debug, info, warn or error`,
  );
}

function profile(text: string): "normal" | "slow-disk" {
  if (text === "normal" || text === "slow-disk") return text;
  throw new ClusterError("invalid-argument", `--raft-profile ${text}: give normal or slow-disk`);
}

/** Docker's own name for its bridge is the same as none given. A bridge of somebody else's is not one of ours to use. */
function hasBridge(name: string): boolean {
  if (name === "none") return false;
  if (name === "" || name === "docker0") return true;
  throw new ClusterError(
    "invalid-argument",
    `--bridge ${name}: a bridge that is there already cannot be used; leave --bridge out for a network bridge of the daemon's own, or give none to have no such network`,
  );
}

function labels(list: readonly string[]): Record<string, string> {
  const map: Record<string, string> = Object.create(null);
  for (const item of list) {
    const at = item.indexOf("=");
    if (at < 1) {
      throw new ClusterError("invalid-argument", `--label ${item}: the form is key=value`);
    }
    map[item.slice(0, at)] = item.slice(at + 1);
  }
  return map;
}

function addressPool(text: string): { base: string; size: number } {
  const parts = new Map(text.split(",").map((part) => part.split("=", 2) as [string, string]));
  const base = parts.get("base") ?? "";
  const size = Number(parts.get("size"));
  const prefix = parsePrefix(base);
  const sizeMax = prefix?.family === 6 ? 128 : 32;
  if (
    prefix === undefined ||
    !(Number.isInteger(size) && size >= prefix.length && size <= sizeMax)
  ) {
    throw new ClusterError(
      "invalid-argument",
      `--default-address-pool ${text}: the form is base=CIDR,size=PREFIX, the prefix within the base`,
    );
  }
  return { base, size };
}

function apiTls(flags: ParsedFlags): ApiTlsFiles | undefined {
  const verify = last(flags, "tlsverify") === "true";
  if (!verify && last(flags, "tls") !== "true") return undefined;
  const need = (name: string): string => {
    const value = last(flags, name);
    if (value === undefined) {
      const mode = verify ? "tlsverify" : "tls";
      throw new ClusterError("invalid-argument", `--${mode} needs --${name}`);
    }
    return value;
  };
  return {
    ca: verify ? need("tlscacert") : (last(flags, "tlscacert") ?? ""),
    cert: need("tlscert"),
    key: need("tlskey"),
    verify,
  };
}
