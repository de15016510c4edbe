/**
 * `skep stack logs`: what the tasks of all services of a stack wrote, each line with the name of its task.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import type { Json } from "./client.ts";
import type { StackRun } from "./io.ts";
import { taskPlace } from "./task-place.ts";

/** Bytes before each piece of a stream: its kind, and how long it is. */
const headerBytes = 8;

/** @throws ClusterError not-found for a stack without services. */
export async function logs(run: StackRun, stack: string): Promise<void> {
  const { client, options } = run;
  const services = await client.ofStack("services", stack);
  if (services.length === 0)
    throw new ClusterError("not-found", `nothing found in stack: ${stack}`);
  const tasks = await client.tasks({
    service: Object.fromEntries(services.map(({ id }) => [id, true])),
  });
  const slots = new Map(
    tasks.map((task) => {
      const service = services.find(({ id }) => id === task["ServiceID"]);
      return [String(task["ID"]), taskPlace(task, service)];
    }),
  );
  const query = `details=1&stdout=1&stderr=1&tail=${encodeURIComponent(options.tail)}&follow=${options.follow ? 1 : 0}`;
  await Promise.all(
    services.map(async ({ id, name, spec }) => {
      const container = ((spec["TaskTemplate"] as Json | undefined)?.["ContainerSpec"] ??
        {}) as Json;
      const reader = lineReader(container["TTY"] === true, (line, isError) => {
        const { task, text } = parted(line);
        const slot = slots.get(task) ?? task.slice(0, 12);
        const words = `${name.slice(stack.length + 1)}.${slot} | ${text}\n`;
        if (isError) run.io.fail(words);
        else run.io.out(words);
      });
      await client.stream(`/services/${id}/logs?${query}`, reader);
    }),
  );
}

/** `com.docker.swarm.task.id=…,… text`. */
function parted(line: string): { readonly task: string; readonly text: string } {
  const at = line.indexOf(" ");
  const [, task = ""] = /com\.docker\.swarm\.task\.id=(\w+)/.exec(line.slice(0, at)) ?? [];
  return task === "" ? { task, text: line } : { task, text: line.slice(at + 1) };
}

function lineReader(
  isPlain: boolean,
  onLine: (line: string, isError: boolean) => void,
): (piece: Buffer) => void {
  let waiting = Buffer.alloc(0);
  const rest = ["", ""];
  const take = (text: string, stream: 0 | 1) => {
    const lines = `${rest[stream]}${text}`.split("\n");
    rest[stream] = lines.pop() ?? "";
    for (const line of lines) onLine(line.replace(/\r$/, ""), stream === 1);
  };
  return (piece) => {
    if (isPlain) {
      take(piece.toString(), 0);
      return;
    }
    waiting = Buffer.concat([waiting, piece]);
    while (waiting.length >= headerBytes) {
      const end = headerBytes + waiting.readUInt32BE(4);
      if (waiting.length < end) return;
      take(waiting.subarray(headerBytes, end).toString(), waiting[0] === 2 ? 1 : 0);
      waiting = waiting.subarray(end);
    }
  };
}
