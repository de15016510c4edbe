/**
 * The flags of `skep daemon`: those of `dockerd` that scripts and test harnesses use, with the same meaning.
 *
 * Flags without a meaning here are accepted and reported in `ignored`, so that existing start scripts work; unknown ones
 * are refused by name. Forms: `--flag value`, `--flag=value`, `-H value`, booleans as `--flag`, `--flag=true|false`.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";

/** What a flag takes. */
type FlagKind = "text" | "list" | "boolean";

interface FlagRule {
  readonly kind: FlagKind;
  /** False for flags that are accepted for compatibility only. */
  readonly used: boolean;
  readonly help: string;
}

const rules: Readonly<Record<string, FlagRule>> = {
  "data-root": { kind: "text", used: true, help: "folder of all persistent state" },
  "exec-root": { kind: "text", used: true, help: "folder of sockets and other run-time files" },
  pidfile: { kind: "text", used: true, help: "file that holds the daemon's process id" },
  host: { kind: "list", used: true, help: "address to serve the API on (unix://, tcp://)" },
  group: { kind: "text", used: true, help: "group of the unix socket" },
  debug: { kind: "boolean", used: true, help: "log debug lines" },
  "log-level": { kind: "text", used: true, help: "debug, info, warn or error" },
  label: { kind: "list", used: true, help: "engine label, key=value" },
  tls: { kind: "boolean", used: true, help: "use TLS on tcp:// addresses" },
  tlsverify: { kind: "boolean", used: true, help: "require client certificates" },
  tlscacert: { kind: "text", used: true, help: "certificates that clients must chain to" },
  tlscert: { kind: "text", used: true, help: "certificate of the API server" },
  tlskey: { kind: "text", used: true, help: "key of the API server" },
  "config-file": { kind: "text", used: true, help: "JSON file with the same keys" },
  "swarm-default-advertise-addr": {
    kind: "text",
    used: true,
    help: "interface or address to advertise when none is given",
  },
  "default-address-pool": { kind: "list", used: true, help: "base=CIDR,size=N" },
  bridge: { kind: "text", used: true, help: "none: no network bridge for containers" },
  "node-generic-resource": {
    kind: "list",
    used: true,
    help: "what the node has beside CPU and memory, KIND=COUNT or KIND=NAME",
  },
  "raft-profile": { kind: "text", used: true, help: "normal, or slow-disk for SD cards" },
  "bridge-shortcuts": {
    kind: "boolean",
    used: true,
    help: "BPF programs lead frames past bridges, streams past rules (true)",
  },
  "shared-shims": {
    kind: "boolean",
    used: true,
    help: "containers of a service share shims where it has many (true)",
  },
  "userland-proxy": { kind: "boolean", used: false, help: "" },
  containerd: { kind: "text", used: false, help: "" },
  "containerd-namespace": { kind: "text", used: false, help: "" },
  "containerd-plugins-namespace": { kind: "text", used: false, help: "" },
  "storage-driver": { kind: "text", used: false, help: "" },
  iptables: { kind: "boolean", used: false, help: "" },
  ip6tables: { kind: "boolean", used: false, help: "" },
  experimental: { kind: "boolean", used: false, help: "" },
  "default-cgroupns-mode": { kind: "text", used: false, help: "" },
  "default-ipc-mode": { kind: "text", used: false, help: "" },
  "live-restore": { kind: "boolean", used: false, help: "" },
  "registry-mirror": { kind: "list", used: true, help: "address asked before Docker Hub" },
  "insecure-registry": { kind: "list", used: true, help: "registry without TLS, host or CIDR" },
  dns: { kind: "list", used: false, help: "" },
  init: { kind: "boolean", used: false, help: "" },
  bip: { kind: "text", used: false, help: "" },
  mtu: { kind: "text", used: false, help: "" },
};

/** Short forms, for the command line only. */
const shortNames: Readonly<Record<string, string>> = {
  H: "host",
  D: "debug",
  G: "group",
  l: "log-level",
  s: "storage-driver",
  p: "pidfile",
  b: "bridge",
};

/** Keys of daemon.json that are called otherwise there. */
const fileKeys: Readonly<Record<string, string>> = {
  hosts: "host",
  labels: "label",
  "node-generic-resources": "node-generic-resource",
  "default-address-pools": "default-address-pool",
  "registry-mirrors": "registry-mirror",
  "insecure-registries": "insecure-registry",
};

/** Flags as parsed: every value in order; a boolean is "true" or "false". */
export interface ParsedFlags {
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** Names that were accepted but have no effect, for one warning each. */
  readonly ignored: readonly string[];
}

/**
 * Parses the arguments after `skep daemon`.
 *
 * @throws ClusterError invalid-argument that names the flag.
 */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const values = new Map<string, string[]>();
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? "";
    const match = /^--?([A-Za-z0-9-]+)(?:=(.*))?$/s.exec(word);
    if (match === null) throw bad(`unexpected argument ${JSON.stringify(word)}`);
    const name = lookUp(shortNames, match[1] ?? "");
    const rule = ruleOf(name);
    let value = match[2];
    if (value === undefined && rule.kind === "boolean") value = "true";
    if (value === undefined) {
      i += 1;
      value = argv[i];
      if (value === undefined) throw bad(`flag --${name} needs a value`);
    }
    add(values, name, value);
  }
  return { values, ignored: ignoredOf(values) };
}

/**
 * Adds the keys of a configuration file (Docker's daemon.json) to flags from the command line.
 *
 * @throws ClusterError invalid-argument for an unknown key, one that is set in both places, as Docker does, or a value of
 *   the wrong kind.
 */
export function withConfigFile(flags: ParsedFlags, json: unknown): ParsedFlags {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw bad("the configuration file must hold one JSON object");
  }
  const values = new Map([...flags.values].map(([name, list]) => [name, [...list]]));
  for (const [key, value] of Object.entries(json)) {
    const name = lookUp(fileKeys, key);
    const rule = ruleOf(name);
    if (flags.values.has(name)) {
      throw bad(
        `the following directives are specified both as a flag and in the configuration file: ${name}`,
      );
    }
    const items = rule.kind === "list" && Array.isArray(value) ? value : [value];
    for (const item of items) add(values, name, itemText(key, rule, item));
  }
  return { values, ignored: ignoredOf(values) };
}

/** The help text: one line per flag that has an effect. */
export function flagsHelp(): string {
  return Object.entries(rules)
    .filter(([, rule]) => rule.used)
    .map(([name, rule]) => `  --${name.padEnd(30)}${rule.help}`)
    .join("\n");
}

function lookUp(names: Readonly<Record<string, string>>, name: string): string {
  return (Object.hasOwn(names, name) ? names[name] : undefined) ?? name;
}

function ruleOf(name: string): FlagRule {
  const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
  if (rule === undefined) throw bad(`unknown flag: --${name}`);
  return rule;
}

function add(values: Map<string, string[]>, name: string, value: string): void {
  const rule = ruleOf(name);
  if (rule.kind === "boolean" && value !== "true" && value !== "false") {
    throw bad(`flag --${name} takes true or false, not ${JSON.stringify(value)}`);
  }
  const list = rule.kind === "list" ? (values.get(name) ?? []) : [];
  values.set(name, [...list, value]);
}

function ignoredOf(values: ReadonlyMap<string, unknown>): string[] {
  return [...values.keys()].filter((name) => !ruleOf(name).used);
}

/** A value of the file as a flag would give it; an item of a list may be an object, written as `key=value,...`. */
function itemText(key: string, { kind }: FlagRule, item: unknown): string {
  if (kind === "boolean" ? typeof item === "boolean" : isPlain(item)) return String(item);
  if (kind === "list" && typeof item === "object" && item !== null && !Array.isArray(item)) {
    const entries = Object.entries(item);
    if (entries.every(([, value]) => isPlain(value))) {
      return entries.map(([name, value]) => `${name}=${value}`).join(",");
    }
  }
  const wanted = kind === "boolean" ? "true or false" : kind === "list" ? "a list" : "a text";
  throw bad(`the configuration file: ${key} takes ${wanted}, not ${JSON.stringify(item)}`);
}

function isPlain(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

function bad(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}
