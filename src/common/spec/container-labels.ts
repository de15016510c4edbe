/**
 * Labels of a service's containers by which users say what Docker's API has no field for in services. Pure.
 *
 * They are part of the task's spec, so that a change replaces the tasks, and stock clients keep them. Managers check their form,
 * nodes follow them; what reaches beyond the container also needs the node's leave.
 */

import { storageSizeFrom, storageSizeLabel, storageSizeWords } from "./storage-size.ts";

/** What may be done with devices of these numbers, made by whomever; undefined stands for all numbers. */
export interface DeviceRule {
  /** `a` for both kinds. */
  readonly type: "a" | "b" | "c";
  readonly major: number | undefined;
  readonly minor: number | undefined;
  /** Out of r, w, m. */
  readonly access: string;
}

/** A weight, or how much a second at most, of one block device of the node. */
export interface BlockDeviceLimit {
  readonly path: string;
  readonly what: "weight" | "read-bps" | "write-bps" | "read-iops" | "write-iops";
  readonly value: number;
}

/** A command that is run in a container after its start, or before its stop. */
export interface ContainerHook {
  readonly command: readonly string[];
  /** That of the container when empty. */
  readonly user: string;
  readonly privileged: boolean;
  /** That of the container when empty. */
  readonly workingDir: string;
  readonly env: readonly string[];
}

/** What a container is to have besides its spec; "", 0 and false where nothing is said. */
export interface ContainerLabels {
  readonly shmSizeBytes: number;
  readonly ipcMode: string;
  readonly pidMode: string;
  readonly utsMode: string;
  readonly cgroupnsMode: string;
  readonly cgroupParent: string;
  readonly cpuShares: number;
  readonly cpusetCpus: string;
  readonly blkioWeight: number;
  readonly blkioDevices: readonly BlockDeviceLimit[];
  readonly oomKillDisable: boolean;
  readonly domainName: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly deviceRules: readonly DeviceRule[];
  /** How much it may write to its own layer, bytes. */
  readonly storageBytes: number;
  readonly postStart: readonly ContainerHook[];
  readonly preStop: readonly ContainerHook[];
  readonly pull: "always" | "missing" | "never";
}

/** Whether a value can be, and what can, in words. */
export type LabelForm = readonly [(value: string) => boolean, string];

const oneOf = (...values: readonly string[]): LabelForm => [
  (value) => values.includes(value),
  values.join(" or "),
];
const matching = (pattern: RegExp, words: string): LabelForm => [
  (value) => pattern.test(value),
  words,
];
const within = (min: number, max: number): LabelForm => [
  (value) => /^\d+$/.test(value) && Number(value) >= min && Number(value) <= max,
  `a number from ${min} to ${max}`,
];

const hookWords = 'a list of JSON such as [{"command":["touch","/ready"]}]';

/** Every label of containers that has a meaning, with its form. */
export const containerLabelForms: Readonly<Record<string, LabelForm>> = {
  "skep.shm-size": [(value) => sizeFrom(value) > 0, "a size such as 256m"],
  "skep.ipc": oneOf("host", "private"),
  "skep.pid": oneOf("host", "private"),
  "skep.uts": oneOf("host", "private"),
  "skep.cgroup": oneOf("host", "private"),
  "skep.cgroup-parent": matching(/^[\w./-]{1,200}$/, "the path of a cgroup"),
  "skep.cpu-shares": within(2, 262_144),
  "skep.cpuset": matching(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, "a list of processors such as 0-2,4"),
  "skep.blkio-weight": within(10, 1000),
  "skep.blkio-devices": [
    (value) => blockDevicesFrom(value) !== undefined,
    "limits such as /dev/sda:read-bps=1048576,/dev/sda:weight=300",
  ],
  "skep.oom-kill-disable": oneOf("true", "false"),
  "skep.domainname": matching(/^[A-Za-z0-9]([\w.-]{0,62})$/, "the name of a domain"),
  "skep.annotations": [
    (value) => annotationsFrom(value) !== undefined,
    "an object of JSON with texts in it",
  ],
  "skep.device-cgroup-rules": [
    (value) => deviceRulesFrom(value) !== undefined,
    "rules such as c 1:3 mr,b 7:* rwm",
  ],
  [storageSizeLabel]: [(value) => storageSizeFrom(value) !== undefined, storageSizeWords],
  "skep.post-start": [(value) => hooksFrom(value) !== undefined, hookWords],
  "skep.pre-stop": [(value) => hooksFrom(value) !== undefined, hookWords],
  "skep.pull": oneOf("always", "missing", "never"),
};

/** What programs that run containers act on: files, hooks and filters of the node among it. */
const obeyedAnnotation =
  /^(run\.oci\.|org\.criu\.|org\.systemd\.|io\.(katacontainers|kubernetes)\.|module\.wasm\.)/;

/** Those that let a container reach beyond itself: the node has to allow them, as it has to privileges. */
export function reachesNode(labels: ContainerLabels): boolean {
  const { ipcMode, pidMode, utsMode, cgroupnsMode, cgroupParent, annotations } = labels;
  const { postStart, preStop } = labels;
  return (
    [ipcMode, pidMode, utsMode, cgroupnsMode].includes("host") ||
    cgroupParent !== "" ||
    Object.keys(annotations).some((key) => obeyedAnnotation.test(key)) ||
    [...postStart, ...preStop].some(({ privileged }) => privileged)
  );
}

/** What the labels say; a value that cannot be counts as not said, as managers have refused it. */
export function containerLabelsOf(labels: Readonly<Record<string, string>>): ContainerLabels {
  const said = (name: string) => {
    const value = Object.hasOwn(labels, name) ? (labels[name] ?? "") : "";
    return containerLabelForms[name]?.[0](value) === true ? value : "";
  };
  const mode = (name: string) => (said(name) === "host" ? "host" : "");
  const pull = said("skep.pull");
  return {
    shmSizeBytes: sizeFrom(said("skep.shm-size")),
    ipcMode: mode("skep.ipc"),
    pidMode: mode("skep.pid"),
    utsMode: mode("skep.uts"),
    cgroupnsMode: mode("skep.cgroup"),
    cgroupParent: said("skep.cgroup-parent"),
    cpuShares: Number(said("skep.cpu-shares")),
    cpusetCpus: said("skep.cpuset"),
    blkioWeight: Number(said("skep.blkio-weight")),
    blkioDevices: blockDevicesFrom(said("skep.blkio-devices")) ?? [],
    oomKillDisable: said("skep.oom-kill-disable") === "true",
    domainName: said("skep.domainname"),
    annotations: annotationsFrom(said("skep.annotations")) ?? {},
    deviceRules: deviceRulesFrom(said("skep.device-cgroup-rules")) ?? [],
    storageBytes: storageSizeFrom(said(storageSizeLabel)) ?? 0,
    postStart: hooksFrom(said("skep.post-start")) ?? [],
    preStop: hooksFrom(said("skep.pre-stop")) ?? [],
    pull: pull === "missing" || pull === "never" ? pull : "always",
  };
}

/** Bytes of `1048576`, `64m` or `1gb`; 0 for what is no size. */
function sizeFrom(text: string): number {
  const [, number, unit = ""] = /^(\d{1,12})([kmg]?)b?$/i.exec(text) ?? [];
  const bytes = Number(number ?? 0) * 1024 ** ["", "k", "m", "g"].indexOf(unit.toLowerCase());
  return Number.isSafeInteger(bytes) ? bytes : 0;
}

const blockLimit = /^(\/dev\/[^,:=]+):(weight|read-bps|write-bps|read-iops|write-iops)=(\d{1,15})$/;

/** `/dev/sda:read-bps=1048576`, several with commas between; undefined for what is none. */
function blockDevicesFrom(text: string): readonly BlockDeviceLimit[] | undefined {
  const limits = text.split(",").map((part) => {
    const [, path = "", what = "", number = ""] = blockLimit.exec(part.trim()) ?? [];
    const value = Number(number);
    const isGood = path !== "" && (what !== "weight" || (value >= 10 && value <= 1000));
    return isGood ? { path, what: what as BlockDeviceLimit["what"], value } : undefined;
  });
  return allOf(limits);
}

/** `c 1:3 mr`, several with commas between; undefined for what is none. */
export function deviceRulesFrom(text: string): readonly DeviceRule[] | undefined {
  const rules = text.split(",").map((part) => {
    const [, type = "", major = "", minor = "", access = ""] =
      /^([abc]) (\d{1,9}|\*):(\d{1,9}|\*) ([rwm]{1,3})$/.exec(part.trim()) ?? [];
    if (type === "") return undefined;
    const number = (digits: string) => (digits === "*" ? undefined : Number(digits));
    return { type: type as "a" | "b" | "c", major: number(major), minor: number(minor), access };
  });
  return allOf(rules);
}

/** `{"key":"value"}`; undefined for what is none. */
function annotationsFrom(text: string): Readonly<Record<string, string>> | undefined {
  const found = jsonFrom(text);
  const isObject = typeof found === "object" && found !== null && !Array.isArray(found);
  if (!isObject) return undefined;
  const isGood = Object.entries(found).every(([key, value]) => key !== "" && isText(value));
  return isGood ? (found as Record<string, string>) : undefined;
}

/** Commands as Compose has them; undefined for what is none. */
function hooksFrom(text: string): readonly ContainerHook[] | undefined {
  const found = jsonFrom(text);
  return Array.isArray(found) ? allOf(found.map(hookFrom)) : undefined;
}

function hookFrom(json: unknown): ContainerHook | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const known = ["command", "user", "privileged", "working_dir", "environment"];
  if (!Object.keys(json).every((key) => known.includes(key))) return undefined;
  const {
    command,
    user = "",
    privileged = false,
    working_dir: workingDir = "",
    environment: env = [],
  } = json as Record<string, unknown>;
  if (!isTexts(command) || command.length === 0 || !isTexts(env)) return undefined;
  if (!isText(user) || !isText(workingDir) || typeof privileged !== "boolean") return undefined;
  return { command, user, privileged, workingDir, env };
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

function jsonFrom(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // No JSON is no value that can be.
  }
}

/** Undefined when one of them is. */
function allOf<T>(items: readonly (T | undefined)[]): readonly T[] | undefined {
  const good = items.filter((item) => item !== undefined);
  return good.length === items.length ? good : undefined;
}
