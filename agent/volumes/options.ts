/**
 * What volumes of the driver `local` are made from: names, options, and the mount that options ask for. Pure.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** A file system to be mounted as the content of a volume. */
export interface VolumeMount {
  readonly type: string;
  readonly device: string;
  /** As `mount -o` takes them; empty for none. */
  readonly options: string;
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
/** A folder has the name. */
const nameLengthMax = 255;
const known = ["type", "o", "device"];
/** Which option needs which others, as with Docker. */
const needed: Readonly<Record<string, readonly string[]>> = {
  device: ["type"],
  type: ["device"],
  o: ["device", "type"],
};

/** @throws ClusterError invalid-argument with Docker's words. */
export function checkVolumeName(name: string): void {
  if (namePattern.test(name) && name.length <= nameLengthMax) return;
  throw new ClusterError(
    "invalid-argument",
    `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
  );
}

/** @throws ClusterError invalid-argument naming the driver. */
export function checkVolumeDriver(driver: string): void {
  if (driver === "local" || driver === "") return;
  throw new ClusterError(
    "invalid-argument",
    `error looking up volume plugin ${driver}: plugin "${driver}" not found: use the driver local`,
  );
}

/**
 * The mount that the options ask for; undefined for a plain folder.
 *
 * @throws ClusterError invalid-argument naming the option.
 */
export function volumeMountOf(options: Readonly<Record<string, string>>): VolumeMount | undefined {
  const names = Object.keys(options);
  if (names.length === 0) return undefined;
  for (const name of names) {
    if (name === "size") throw invalid(`option "size": quotas need a project file system`);
    if (!known.includes(name)) throw invalid(`invalid option: "${name}": use ${known.join(", ")}`);
    for (const other of needed[name] ?? []) {
      if ((options[other] ?? "") === "") throw invalid(`missing required option: "${other}"`);
    }
  }
  return {
    type: options["type"] ?? "",
    device: options["device"] ?? "",
    options: options["o"] ?? "",
  };
}

/** Host name in `addr=`, which the kernel wants as an address; undefined when there is none. */
export function serverNameOf(mount: VolumeMount): string | undefined {
  if (!/^(nfs4?|cifs)$/.test(mount.type)) return undefined;
  const name = mount.options.split(",").find((option) => option.startsWith("addr="));
  return name?.slice("addr=".length);
}

/** The mount with the server's address in the place of its name. */
export function withServerAddress(mount: VolumeMount, address: string): VolumeMount {
  const options = mount.options
    .split(",")
    .map((option) => (option.startsWith("addr=") ? `addr=${address}` : option));
  return { ...mount, options: options.join(",") };
}

/** Mount points at or below a folder, the innermost first; out of the text of /proc/self/mountinfo. */
export function mountPointsIn(mountinfo: string, folder: string): string[] {
  return mountinfo
    .split("\n")
    .map((line) => plainPath(line.split(" ")[4] ?? ""))
    .filter((path) => path === folder || path.startsWith(`${folder}/`))
    .reverse();
}

/** The kernel writes blanks and the like as octal numbers. */
function plainPath(text: string): string {
  return text.replace(/\\(\d{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function invalid(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}
