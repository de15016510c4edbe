/**
 * Carries out steps, past lines that fail, so that one container's trouble is not another's: all in one go of the thread that
 * speaks to the kernel, else by a program for each batch.
 */
import type { Batch, Line, Steps } from "./diff.ts";
import type { FileOf } from "./links.ts";
import { command, writeSettings } from "./namespace.ts";
import type { KernelThread } from "./nft/library.ts";

/** A line that failed. */
export interface Failure {
  /** The container it was for; undefined for what all share. */
  readonly owner: string | undefined;
  readonly space: string;
  readonly line: string;
  readonly error: string;
}

const programs = {
  ip: ["ip", "-force", "-batch", "-"],
  ip6: ["ip", "-6", "-force", "-batch", "-"],
  bridge: ["bridge", "-force", "-batch", "-"],
} as const;

/** @returns What failed, but for removals of what was gone. @throws ClusterError unavailable without the programs. */
export async function apply(
  steps: Steps,
  fileOf: FileOf,
  thread: Pick<KernelThread, "change">,
): Promise<Failure[]> {
  const failures =
    (await byThread(steps, fileOf, thread)) ?? (await byPrograms(steps.batches, fileOf));
  for (const [space, settings] of steps.settings) {
    await writeSettings(fileOf(space), settings).catch((error: unknown) => {
      const owner = steps.batches.find((batch) => batch.space === space)?.lines[0]?.owner;
      failures.push({ owner, space, line: "settings", error: String(error) });
    });
  }
  return failures;
}

/** @returns Undefined where there is no such thread. */
async function byThread(
  { batches }: Steps,
  fileOf: FileOf,
  thread: Pick<KernelThread, "change">,
): Promise<Failure[] | undefined> {
  if (batches.length === 0) return [];
  const works = batches.map(({ space, lines }) => ({
    namespace: fileOf(space),
    changes: lines.map(({ change }) => change),
  }));
  const outcomes = await thread.change(works);
  return outcomes?.flatMap((failed, at) =>
    failed.flatMap(({ index, error, isAbsent }) => {
      const batch = batches[at];
      const line = batch?.lines[index];
      if (batch === undefined || line === undefined || (line.removes && isAbsent)) return [];
      return [{ owner: line.owner, space: batch.space, line: line.text, error }];
    }),
  );
}

async function byPrograms(batches: readonly Batch[], fileOf: FileOf): Promise<Failure[]> {
  const failures: Failure[] = [];
  for (const group of inGroups(batches)) {
    const results = await Promise.all(group.map((batch) => run(batch, fileOf)));
    failures.push(...results.flat());
  }
  return failures;
}

/** Batches of different containers may run at once, a few at a time; all others one after the other. */
function inGroups(batches: readonly Batch[]): Batch[][] {
  const groups: Batch[][] = [];
  for (const batch of batches) {
    const last = groups.at(-1);
    const first = last?.[0];
    const together =
      last !== undefined &&
      first !== undefined &&
      isContainers(first) &&
      isContainers(batch) &&
      last.length < batchesAtOnce &&
      last.every(({ space }) => space !== batch.space);
    if (together) last.push(batch);
    else groups.push([batch]);
  }
  return groups;
}

/** More only wait for each other in the kernel. */
const batchesAtOnce = 4;

function isContainers({ lines }: Batch): boolean {
  return lines[0]?.owner !== undefined && lines.every(({ owner }) => owner === lines[0]?.owner);
}

async function run(batch: Batch, fileOf: FileOf): Promise<Failure[]> {
  const input = batch.lines.map(({ text }) => `${text}\n`).join("");
  const { code, stderr } = await command(programs[batch.tool], {
    file: fileOf(batch.space),
    input,
  });
  const failed = failedLines(stderr, batch.lines);
  if (code !== 0 && failed.length === 0) {
    const owner = batch.lines[0]?.owner;
    return [{ owner, space: batch.space, line: "", error: stderr.trim() || `exit code ${code}` }];
  }
  return failed
    .filter(({ line, error }) => !(line.removes && saysAbsent(error)))
    .map(({ line, error }) => ({ owner: line.owner, space: batch.space, line: line.text, error }));
}

/** What a program wrote about lines of a batch: its words, then `Command failed -:3`. */
export function failedLines(
  stderr: string,
  lines: readonly Line[],
): { readonly line: Line; readonly error: string }[] {
  const failed: { line: Line; error: string }[] = [];
  let words: string[] = [];
  for (const text of stderr.split("\n")) {
    const position = /^Command failed -:(\d+)/.exec(text)?.[1];
    if (position === undefined) {
      if (text.trim() !== "") words.push(text.trim());
      continue;
    }
    const line = lines[Number(position) - 1];
    if (line !== undefined) failed.push({ line, error: words.join("; ") });
    words = [];
  }
  return failed;
}

function saysAbsent(error: string): boolean {
  return /Cannot find device|No such (process|device|file)|does not exist|Cannot assign/.test(
    error,
  );
}
