/**
 * What a playground remembers on disk: its nodes, their addresses and who is cut off. Which processes run is never
 * remembered but read from the kernel (processes.ts), so that nothing here can be stale after a crash.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ClusterError } from "../common/errors/cluster-error.ts";
import type { EmulatedArchitecture } from "./emulation.ts";

/** One simulated host. */
export interface NodeState {
  readonly name: string;
  /** IPv4 address in the lab's /24. */
  readonly address: string;
  /** Extra environment of the node's daemon, e.g. a shifted clock. */
  readonly env: Readonly<Record<string, string>>;
  /** Flags of the node's daemon besides those every one has. */
  readonly flags?: readonly string[];
}

/** Content of `playground.json`. */
export interface PlaygroundState {
  readonly version: 1;
  /** Random; marks every process of this playground, so that no other process is ever touched. */
  readonly id: string;
  readonly name: string;
  readonly nodes: readonly NodeState[];
  /** Names of the nodes on the far side of a partition. */
  readonly cut: readonly string[];
  /** Command that gets `daemon …` appended. */
  readonly program: readonly string[];
  /** Architectures whose programs are to run on this machine while the playground is up. */
  readonly emulated: readonly EmulatedArchitecture[];
  /** The kernel's folder of program formats was mounted for it. */
  readonly mountedFormats: boolean;
  /** First folder that had to be made for the playground; undefined when the folder was there before. */
  readonly madeFrom?: string;
}

const fileName = "playground.json";

/**
 * Makes the folder of a new playground and its first state.
 *
 * @throws ClusterError `already-exists` when a playground is there, `failed-precondition` when other files are.
 */
export function createState(
  dir: string,
  state: Omit<PlaygroundState, "madeFrom">,
): PlaygroundState {
  if (existsSync(join(dir, fileName))) {
    throw new ClusterError(
      "already-exists",
      `there is a playground in ${dir} already: take it down first`,
    );
  }
  const madeFrom = mkdirSync(dir, { recursive: true, mode: 0o711 });
  if (readdirSync(dir).length > 0) {
    throw new ClusterError(
      "failed-precondition",
      `${dir} holds other files: choose an empty folder`,
    );
  }
  const full = madeFrom === undefined ? state : { ...state, madeFrom };
  saveState(dir, full);
  return full;
}

/**
 * Reads the state of the playground in `dir`.
 *
 * @throws ClusterError `not-found` when there is none.
 */
export function loadState(dir: string): PlaygroundState {
  const path = join(dir, fileName);
  if (!existsSync(path)) throw new ClusterError("not-found", `there is no playground in ${dir}`);
  return JSON.parse(readFileSync(path, "utf8")) as PlaygroundState;
}

/** Replaces the state file as a whole. */
export function saveState(dir: string, state: PlaygroundState): void {
  const path = join(dir, fileName);
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/** Removes what the playground put into its folder, the state last, and the folders it had to make. */
export function removeState(dir: string, state: PlaygroundState): void {
  for (const node of state.nodes) rmSync(join(dir, node.name), { recursive: true, force: true });
  rmSync(join(dir, `${fileName}.new`), { force: true });
  rmSync(join(dir, fileName), { force: true });
  if (state.madeFrom === undefined) return;
  for (let folder = dir; folder.startsWith(state.madeFrom); folder = dirname(folder)) {
    if (readdirSync(folder).length > 0) return; // somebody else uses it by now
    rmdirSync(folder);
  }
}
