/**
 * The short forms of mounts, `docker run -v` and `--tmpfs`: `HostConfig.Binds` and `Tmpfs` → `Mount`. Pure.
 *
 * A source that begins with a slash is a folder of the node, made when it is not there; anything else names a volume.
 */
import {
  BindOptions,
  Driver,
  Mount,
  TmpfsOptions,
  VolumeOptions,
} from "../../common/api/generated/api.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { bytesFromText } from "./size.ts";

const propagations = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
const consistencies = ["consistent", "cached", "delegated", "default"];
const volumeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** A bind, or the place of a volume without a name. */
export type ParsedBind = { readonly mount: Mount } | { readonly anonymous: string };

/**
 * `SOURCE:TARGET[:MODE]`, or `TARGET` alone.
 * @param driver Of volumes that are made for it; "" for the default.
 * @throws ClusterError `invalid-argument` with Docker's texts.
 */
export function parseBind(text: string, driver: string): ParsedBind {
  const parts = text.split(":");
  if (parts.length > 3 || parts.some((part) => part === "")) throw invalidSpec(text);
  const [first = "", second, third] = parts;
  if (second === undefined) return { anonymous: target(first, text) };
  // `TARGET:MODE` is not a form of its own: a mode has no slash, and a target must have one.
  const mode = third ?? "";
  const options = parseMode(mode, text);
  const isPath = first.startsWith("/");
  if (!isPath && !volumeName.test(first)) {
    throw invalid(
      `invalid volume specification: '${text}': ${JSON.stringify(first)} includes invalid characters for a local volume name, ` +
        'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
    );
  }
  if (!isPath && options.propagation !== "") throw invalidMode(mode);
  if (isPath && options.noCopy) throw invalidMode(mode);
  return {
    mount: Mount.create({
      type: isPath ? "bind" : "volume",
      source: first,
      target: target(second, text),
      readOnly: options.readOnly,
      consistency: options.consistency,
      bind: isPath
        ? BindOptions.create({ propagation: options.propagation, createMountpoint: true })
        : undefined,
      volume:
        isPath || (!options.noCopy && driver === "")
          ? undefined
          : VolumeOptions.create({
              noCopy: options.noCopy,
              driver: driver === "" ? undefined : Driver.create({ name: driver }),
            }),
    }),
  };
}

function target(path: string, text: string): string {
  if (!path.startsWith("/"))
    throw invalid(
      `invalid volume specification: '${text}': invalid mount config for type "volume": invalid mount path: '${path}' mount path must be absolute`,
    );
  const normal = path.replace(/\/+/g, "/").replace(/(.)\/$/, "$1");
  if (normal === "/")
    throw invalid(
      `invalid volume specification: '${text}': invalid mount config: destination can't be '/'`,
    );
  return normal;
}

function parseMode(mode: string, text: string) {
  let readOnly = false;
  let noCopy = false;
  let propagation = "";
  let consistency = "";
  for (const word of mode === "" ? [] : mode.split(",")) {
    if (word === "ro") readOnly = true;
    else if (word === "nocopy") noCopy = true;
    else if (propagations.includes(word)) propagation = word;
    else if (consistencies.includes(word)) consistency = word;
    // Labels of SELinux: nothing to do where it is off.
    else if (word !== "rw" && word !== "z" && word !== "Z")
      throw invalid(`invalid volume specification: '${text}': invalid mode: ${mode}`);
  }
  return { readOnly, noCopy, propagation, consistency };
}

/** `--tmpfs TARGET[:OPTIONS]`, given as target and options. @throws ClusterError `invalid-argument` naming the option. */
export function tmpfsFromText(path: string, text: string): Mount {
  let sizeBytes = 0;
  let mode = 0;
  let readOnly = false;
  const options: string[] = [];
  for (const option of text === "" ? [] : text.split(",")) {
    const [name = "", value = ""] = option.split("=");
    if (name === "size" && !value.endsWith("%")) {
      const bytes = bytesFromText(value);
      if (bytes === undefined) throw invalid(`invalid tmpfs option ${JSON.stringify(option)}`);
      sizeBytes = bytes;
    } else if (name === "mode") {
      if (!/^[0-7]{1,5}$/.test(value))
        throw invalid(`invalid tmpfs option ${JSON.stringify(option)}`);
      mode = Number.parseInt(value, 8);
    } else if (name === "ro") readOnly = true;
    else if (name !== "rw") options.push(option);
  }
  return Mount.create({
    type: "tmpfs",
    target: target(path, path),
    readOnly,
    tmpfs: TmpfsOptions.create({ sizeBytes, mode, options }),
  });
}

function invalid(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}

function invalidSpec(text: string): ClusterError {
  return invalid(`invalid volume specification: '${text}'`);
}

function invalidMode(mode: string): ClusterError {
  return invalid(`invalid mode: ${mode}`);
}
