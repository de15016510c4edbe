/**
 * The processes of a container as `docker top` shows them: `ps` of the node, run with the user's arguments, less the
 * processes that are not in the container.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { ProcessTable } from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import type { ContainerdClient } from "../../../src/common/containerd/client.ts";
import { TasksService } from "../../../src/common/containerd/generated/protocol.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";

const execute = promisify(execFile);
const outputBytesMax = 16 * 1024 * 1024;
const psTimeoutMs = 10_000;

/**
 * @param psArguments As the user gave them; `-ef` when empty.
 * @throws ClusterError failed-precondition when it does not run, invalid-argument with what `ps` says.
 */
export async function processTable(
  client: ContainerdClient,
  container: Container,
  psArguments: string,
): Promise<ProcessTable> {
  const { id, name, state } = container;
  if (state.phase !== "running" && state.phase !== "paused") {
    throw new ClusterError("failed-precondition", `container ${id} is not running`);
  }
  const args = psArguments.trim().split(/\s+/).filter(Boolean);
  const { processes } = await client.call(TasksService.listPids, { containerId: id });
  const pids = new Set(processes.map(({ pid }) => pid));
  try {
    const { stdout } = await execute("ps", args.length === 0 ? ["-ef"] : args, {
      maxBuffer: outputBytesMax,
      timeout: psTimeoutMs,
    });
    return tableOf(stdout, pids);
  } catch (error) {
    if (error instanceof ClusterError) throw error;
    const { stderr, code } = error as { stderr?: string; code?: unknown };
    const why = code === "ENOENT" ? "ps is not installed on the node" : (stderr ?? "").trim();
    throw new ClusterError("invalid-argument", `ps of container ${name} failed: ${why}`, {
      cause: error,
    });
  }
}

/**
 * The lines of `ps` whose process is among these.
 *
 * @throws ClusterError invalid-argument when there is no column PID.
 */
export function tableOf(text: string, pids: ReadonlySet<number>): ProcessTable {
  const [head = "", ...lines] = text.split("\n").filter((line) => line.trim() !== "");
  const titles = head.trim().split(/\s+/);
  const column = titles.indexOf("PID");
  if (column < 0) {
    throw new ClusterError("invalid-argument", "Couldn't find PID field in ps output");
  }
  const rows = lines.map((line) => fieldsOf(line, titles.length));
  return { titles, processes: rows.filter((fields) => pids.has(Number(fields[column]))) };
}

/** The last column, the command, may hold blanks. */
function fieldsOf(line: string, count: number): string[] {
  const words = line.trim().split(/\s+/);
  return words.length <= count
    ? words
    : [...words.slice(0, count - 1), words.slice(count - 1).join(" ")];
}
