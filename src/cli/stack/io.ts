/**
 * What every command of `skep stack` works with.
 */
import type { Warning } from "../../stack/files.ts";
import type { Project } from "../../stack/project.ts";
import type { CommandIo } from "../io.ts";
import type { StackClient } from "./client.ts";

/** Where the words go. */
export interface StackIo extends CommandIo {
  /** Of the caller. */
  readonly folder: string;
}

/** Options as the user gave them. */
export interface StackOptions {
  readonly prune: boolean;
  readonly detach: boolean;
  readonly quiet: boolean;
  readonly json: boolean;
  readonly follow: boolean;
  readonly withRegistryAuth: boolean;
  readonly resolveImage: "always" | "changed" | "never";
  /** Number of lines, or `all`. */
  readonly tail: string;
  /** Longest time that one service is waited for, milliseconds. */
  readonly timeoutMs: number;
  /** Index of a plan that still has to hold; undefined when none was named. */
  readonly plan: number | undefined;
  readonly filters: readonly string[];
}

/** One run of a command. */
export interface StackRun {
  readonly io: StackIo;
  readonly options: StackOptions;
  readonly client: StackClient;
  /** Reads the files that were named. @throws ClusterError invalid-argument with the place of what is wrong. */
  readonly project: (name: string | undefined) => Project;
}

/** Warnings, each once. */
export function say(
  { io, options }: Pick<StackRun, "io" | "options">,
  warnings: readonly Warning[],
): void {
  if (options.quiet) return;
  const lines = warnings.map(
    ({ place, text }) => `warning: ${place === "" ? "" : `${place}: `}${text}\n`,
  );
  for (const line of new Set(lines)) io.fail(line);
}
