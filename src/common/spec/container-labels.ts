/**
 * Labels of a service's containers by which users say what Docker's API has no field for in services. Pure.
 *
 * They are part of the task's spec, so that a change replaces the tasks, and stock clients keep them. Managers check their form,
 * nodes follow them; what reaches beyond the container also needs the node's leave.
 */

/** What a container is to have besides its spec; "", 0 and false where nothing is said. */
export interface ContainerLabels {
  readonly shmSizeBytes: number;
  readonly ipcMode: string;
  readonly pidMode: string;
  readonly cgroupnsMode: string;
  readonly cgroupParent: string;
  readonly cpuShares: number;
  readonly cpusetCpus: string;
  readonly blkioWeight: number;
  readonly oomKillDisable: boolean;
  readonly domainName: string;
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

/** Every label of containers that has a meaning, with its form. */
export const containerLabelForms: Readonly<Record<string, LabelForm>> = {
  "skep.shm-size": [(value) => sizeFrom(value) > 0, "a size such as 256m"],
  "skep.ipc": oneOf("host", "private"),
  "skep.pid": oneOf("host", "private"),
  "skep.cgroup": oneOf("host", "private"),
  "skep.cgroup-parent": matching(/^[\w./-]{1,200}$/, "the path of a cgroup"),
  "skep.cpu-shares": within(2, 262_144),
  "skep.cpuset": matching(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, "a list of processors such as 0-2,4"),
  "skep.blkio-weight": within(10, 1000),
  "skep.oom-kill-disable": oneOf("true", "false"),
  "skep.domainname": matching(/^[A-Za-z0-9]([\w.-]{0,62})$/, "the name of a domain"),
  "skep.pull": oneOf("always", "missing", "never"),
};

/** Those that let a container reach beyond itself: the node has to allow them, as it has to privileges. */
export function reachesNode({
  ipcMode,
  pidMode,
  cgroupnsMode,
  cgroupParent,
}: ContainerLabels): boolean {
  return [ipcMode, pidMode, cgroupnsMode].includes("host") || cgroupParent !== "";
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
    cgroupnsMode: mode("skep.cgroup"),
    cgroupParent: said("skep.cgroup-parent"),
    cpuShares: Number(said("skep.cpu-shares")),
    cpusetCpus: said("skep.cpuset"),
    blkioWeight: Number(said("skep.blkio-weight")),
    oomKillDisable: said("skep.oom-kill-disable") === "true",
    domainName: said("skep.domainname"),
    pull: pull === "missing" || pull === "never" ? pull : "always",
  };
}

/** Bytes of `1048576`, `64m` or `1gb`; 0 for what is no size. */
function sizeFrom(text: string): number {
  const [, number, unit = ""] = /^(\d{1,12})([kmg]?)b?$/i.exec(text) ?? [];
  const bytes = Number(number ?? 0) * 1024 ** ["", "k", "m", "g"].indexOf(unit.toLowerCase());
  return Number.isSafeInteger(bytes) ? bytes : 0;
}
