/**
 * Variables of a container's environment that must be in no record: how they get past containerd, which writes down whatever
 * it is told. Pure but for the files it is handed.
 *
 * A program stands in for runc or crun with such containers. It is a shell script that hands `create` and `exec` to
 * `secret-env-main.ts`, which adds the variables, from a file in memory, to what the program reads, in memory too; all else
 * goes to the program as it is. Where these files are follows from the folder of the program's state, `<memory>/state`, which
 * containerd passes on with each call.
 */
import { dirname, join } from "node:path";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

/** The longest entry of an environment the kernel takes (MAX_ARG_STRLEN), bytes, with name, sign and final zero. */
const entryBytesMax = 128 * 1024;

/** Files of one container, in its folder in memory. */
export const secretEnvFiles = { variables: "env.json", state: "state", bundle: "bundle" } as const;

/** The script that stands in for a program. @param node How Node runs the main file. */
export function standInScript(program: string, node: readonly string[]): string {
  const quoted = (words: readonly string[]) =>
    words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  return `#!/bin/sh
# Made by skep: adds secret variables to the environment of containers, without a record of them.
for word do
  case $word in
    create|exec) exec ${quoted([...node, program])} "$@" ;;
    delete|events|features|kill|list|pause|ps|resume|spec|start|state|update) break ;;
  esac
done
exec ${quoted([program])} "$@"
`;
}

/** A call of the program that has to be changed. */
export interface StandInCall {
  /** Its folder in memory. */
  readonly memory: string;
  /** Which word of the call names the file or folder to be changed. */
  readonly at: number;
  readonly kind: "bundle" | "process";
}

/** What a call is; undefined for one that names nothing to change. @param args All words after the program's name. */
export function standInCall(args: readonly string[]): StandInCall | undefined {
  const state = valueAt(args, ["--root"]);
  const bundle = valueAt(args, ["--bundle", "-b"]);
  const process = valueAt(args, ["--process", "-p"]);
  if (state === undefined) return undefined;
  // The program's state is in a folder of containerd's namespace in it.
  const memory = dirname(dirname(args[state] ?? ""));
  if (args.includes("create") && bundle !== undefined)
    return { memory, at: bundle, kind: "bundle" };
  if (args.includes("exec") && process !== undefined)
    return { memory, at: process, kind: "process" };
  return undefined;
}

function valueAt(args: readonly string[], names: readonly string[]): number | undefined {
  const at = args.findIndex((word) => names.includes(word));
  return at < 0 || at + 1 >= args.length ? undefined : at + 1;
}

interface Process {
  readonly env?: readonly string[];
}

/** The variables in front of all others, as the first of a name counts; entries of the same name go. */
export function withVariables<T extends Process>(
  process: T,
  variables: Readonly<Record<string, string>>,
): T {
  const others = (process.env ?? []).filter(
    (entry) => !Object.hasOwn(variables, entry.split("=", 1)[0] ?? ""),
  );
  const added = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  return { ...process, env: [...added, ...others] };
}

/** A bundle's configuration with the variables, to be read from another folder. */
export function withVariablesInBundle(
  text: string,
  bundle: string,
  variables: Readonly<Record<string, string>>,
): string {
  const spec = JSON.parse(text) as { process?: Process; root?: { path?: string } };
  const path = spec.root?.path ?? "rootfs";
  return JSON.stringify({
    ...spec,
    root: { ...spec.root, path: path.startsWith("/") ? path : join(bundle, path) },
    process: withVariables(spec.process ?? {}, variables),
  });
}

/**
 * A payload as the value of a variable: without the line ends it closes with, as a shell would read it from its file.
 *
 * @param what For people: which secret or config it is.
 * @throws ClusterError invalid-argument for what no variable can hold.
 */
export function variableFrom(name: string, data: Uint8Array, what: string): string {
  const text = Buffer.from(data).toString();
  const value = text.replace(/\n+$/, "");
  const reason = value.includes("\0")
    ? "it has a zero byte"
    : Buffer.byteLength(`${name}=${value}`) >= entryBytesMax
      ? `it is longer than ${entryBytesMax - name.length - 2} bytes`
      : Buffer.from(text).equals(Buffer.from(data))
        ? ""
        : "it is no text in UTF-8";
  if (reason === "") return value;
  throw new ClusterError(
    "invalid-argument",
    `${what} cannot be the environment variable ${name}: ${reason}; read it from its file`,
  );
}
