/**
 * Logs of services and tasks over HTTP: those of all their containers in the cluster, merged by time.
 *
 * What Docker's swarm says of logs that cannot be had is said here within 2 s: at the end, as an error in the stream
 * (docker-facts 1.12, `incomplete log stream`); while following at once, as a line of the task, and the log goes on when its
 * node is back. Tasks that start while their service is followed join.
 */
import type { Task } from "../common/api/generated/api.ts";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { logHoldMs, logRetryMs, logTasksMax } from "../common/limits/tunnel.ts";
import { knowsFrames, tailOf } from "./container-streams.ts";
import { type EngineContext, readView } from "./context.ts";
import { containerOf } from "./far-lookup.ts";
import { frame, logTime, nanosecondsFrom } from "./frames.ts";
import { streamType } from "./hijack.ts";
import type { FramedRecord } from "./log-frames.ts";
import { LogMerge } from "./log-merge.ts";
import type { ObjectView } from "./ports.ts";
import type { Reply } from "./reply.ts";
import { type EngineRequest, flag, param } from "./request.ts";
import type { Route } from "./router.ts";
import { type LogWish, taskLog } from "./task-log.ts";

/** Routes of the logs of services and tasks. */
export function serviceLogRoutes(context: EngineContext): readonly Route[] {
  const route = (pattern: string, find: (view: ObjectView, id: string) => Wanted): Route => ({
    method: "GET",
    pattern,
    unlimited: true,
    handler: (request) => logs(context, request, find),
  });
  return [
    route("/services/{id}/logs", (view, id) => {
      const service = view.lookup("service", id);
      return {
        tty: service.spec?.task?.container?.tty === true,
        tasks: [...view.tasksOfService(service.id)],
        isWanted: (task) => task.serviceId === service.id,
      };
    }),
    route("/tasks/{id}/logs", (view, reference) => {
      const task = view.lookup("task", reference);
      return {
        tty: task.spec?.container?.tty === true,
        tasks: [task],
        isWanted: ({ id }) => id === task.id,
      };
    }),
  ];
}

/** Whose logs are wanted. */
interface Wanted {
  readonly tty: boolean;
  /** Those there are now. */
  readonly tasks: readonly Task[];
  /** Of those that come. */
  readonly isWanted: (task: Task) => boolean;
}

/** A record and the task it is of. */
interface TaskRecord extends FramedRecord {
  readonly task: Task;
}

/** Of containers anything that is no number means all, of services nothing but that word, as in Docker. */
function tailOfService(request: EngineRequest): number | undefined {
  const text = request.query.get("tail") ?? "";
  if (text === "" || text === "all" || /^-?\d+$/.test(text)) return tailOf(request);
  throw new ClusterError("invalid-argument", 'tail value must be a positive integer or "all"');
}

async function logs(
  context: EngineContext,
  request: EngineRequest,
  find: (view: ObjectView, id: string) => Wanted,
): Promise<Reply> {
  const wish: LogWish = {
    stdout: flag(request, "stdout"),
    stderr: flag(request, "stderr"),
    follow: flag(request, "follow"),
    details: flag(request, "details"),
    sinceNs: nanosecondsFrom("since", request.query.get("since") ?? ""),
    untilNs: nanosecondsFrom("until", request.query.get("until") ?? ""),
    tail: tailOfService(request),
    signal: request.signal,
  };
  if (!wish.stdout && !wish.stderr) {
    throw new ClusterError(
      "invalid-argument",
      "Bad parameters: you must choose at least one stream",
    );
  }
  // From before the look at the tasks, so that none is missed in between.
  const changes = wish.follow ? context.ports.events.changes(request.signal) : undefined;
  const wanted = find(await readView(context, request), param(request, "id"));
  const reading = new Reading(context, wanted, wish);
  return {
    kind: "bytes",
    type: knowsFrames(request) ? streamType(wanted.tty, true) : "",
    items: reading.bytes(changes, flag(request, "timestamps")),
  };
}

/** One request under way. */
class Reading {
  readonly #context: EngineContext;
  readonly #wanted: Wanted;
  readonly #wish: LogWish;
  readonly #merge: LogMerge<TaskRecord>;
  readonly #seen = new Set<string>();
  /** Why logs are missing, each reason once. */
  readonly #reasons = new Set<string>();
  /** Nodes that followers were told are away. */
  readonly #away = new Set<string>();

  constructor(context: EngineContext, wanted: Wanted, wish: LogWish) {
    this.#context = context;
    this.#wanted = wanted;
    this.#wish = wish;
    this.#merge = new LogMerge({
      holdMs: wish.follow ? logHoldMs : undefined,
      clock: context.clock,
      signal: wish.signal,
    });
  }

  async *bytes(
    changes: AsyncIterable<readonly TaskChange[]> | undefined,
    timestamps: boolean,
  ): AsyncGenerator<Uint8Array, void, void> {
    this.#begin();
    if (changes === undefined) this.#merge.complete();
    else void this.#join(changes);
    for await (const record of this.#merge.records()) yield this.#line(record, timestamps);
    const notice = this.#notice();
    if (notice !== undefined && !this.#wish.signal.aborted) yield notice;
  }

  #begin(): void {
    const { tasks } = this.#wanted;
    const newest = [...tasks].sort((a, b) => createdAt(b) - createdAt(a));
    for (const task of newest.slice(0, logTasksMax)) {
      if (task.nodeId === "") this.#reasons.add(`task ${task.id} has not been scheduled`);
      this.#add(task);
    }
    const left = tasks.length - logTasksMax;
    if (left > 0) this.#reasons.add(`${left} older tasks are left out: ask for the logs of a task`);
  }

  /** Adds the log of a task once it has a container. */
  #add(task: Task): void {
    if (containerOf(task) === "" || this.#seen.has(task.id)) return;
    this.#seen.add(task.id);
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#merge.add(this.#records(task, open), opened);
  }

  /** Tasks that start from now on. Never rejects. */
  async #join(changes: AsyncIterable<readonly TaskChange[]>): Promise<void> {
    try {
      for await (const batch of changes) {
        for (const change of batch) {
          if (change.table !== "task" || change.kind === "remove") continue;
          if (this.#wanted.isWanted(change.object)) this.#add(change.object);
        }
      }
    } catch {
      // The manager stops; the logs that are open go on until their end.
    }
    this.#merge.complete();
  }

  /** A task's log, asked for again where it is followed and its node went away. */
  async *#records(task: Task, open: () => void): AsyncGenerator<TaskRecord, void, void> {
    const { signal, follow } = this.#wish;
    let last = "";
    while (!signal.aborted) {
      const attempt = new AbortController();
      const stop = () => attempt.abort(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      try {
        const wish = { ...this.#wish, ...continued(last), signal: attempt.signal };
        const listener = {
          onOpen: () => {
            this.#away.delete(task.nodeId);
            open();
          },
          onSilent: () => (follow ? this.#tellAway(task) : attempt.abort(awayError(task))),
        };
        for await (const record of taskLog(this.#context, task, wish, listener)) {
          if (record.time <= last) continue;
          last = record.time;
          yield { ...record, task };
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!follow) {
          this.#reasons.add(reasonOf(task, error));
          return;
        }
        this.#tellAway(task);
      } finally {
        signal.removeEventListener("abort", stop);
        attempt.abort();
        open();
      }
      await this.#context.clock.sleep(logRetryMs, signal);
      if (this.#context.ports.objects.present()?.get("task", task.id) === undefined) return;
    }
  }

  /** Tells a follower, once for each time that a node is away. */
  #tellAway(task: Task): void {
    if (this.#away.has(task.nodeId)) return;
    this.#away.add(task.nodeId);
    const text = `warning: incomplete log stream: node ${task.nodeId} is not available; its logs follow when it is back\n`;
    const time = logTime(BigInt(this.#context.clock.now()) * 1_000_000n);
    const record = { stream: "stderr", time, details: "", data: Buffer.from(text), task } as const;
    this.#merge.add(
      (async function* () {
        yield record;
      })(),
    );
  }

  /** What Docker's daemon writes after the logs when some are missing; clients fail with it. */
  #notice(): Uint8Array | undefined {
    if (this.#reasons.size === 0 || this.#wish.follow) return undefined;
    const text =
      "Error grabbing logs: rpc error: code = Unknown desc = warning: incomplete log stream. " +
      `some logs could not be retrieved for the following reasons: ${[...this.#reasons].join(", ")}\n`;
    return this.#wanted.tty ? Buffer.from(text) : frame("error", Buffer.from(text));
  }

  #line({ stream, time, details, data, task }: TaskRecord, timestamps: boolean): Uint8Array {
    const head = `${timestamps ? `${time} ` : ""}${this.#wish.details ? `${attributes(task, details)} ` : ""}`;
    const line = head === "" ? data : Buffer.concat([Buffer.from(head), data]);
    return this.#wanted.tty ? line : frame(stream, line);
  }
}

/** One committed change, as the port gives it. */
type TaskChange =
  ReturnType<EngineContext["ports"]["events"]["changes"]> extends AsyncIterable<
    readonly (infer C)[]
  >
    ? C
    : never;

/** What clients need to say whose line it is, and what the log options add; sorted by name, as Docker does. */
function attributes(task: Task, details: string): string {
  const own = [
    `com.docker.swarm.node.id=${task.nodeId}`,
    `com.docker.swarm.service.id=${task.serviceId}`,
    `com.docker.swarm.task.id=${task.id}`,
  ];
  return [...own, ...(details === "" ? [] : details.split(","))].sort().join(",");
}

/** Asks for what comes after the last record only, once there was one. */
function continued(last: string): Partial<Pick<LogWish, "sinceNs" | "tail">> {
  if (last === "") return {};
  return { sinceNs: nanosecondsOf(last), tail: undefined };
}

function nanosecondsOf(time: string): bigint {
  const seconds = BigInt(Date.parse(`${time.slice(0, 19)}Z`)) / 1000n;
  return seconds * 1_000_000_000n + BigInt(time.slice(20, 29));
}

function reasonOf(task: Task, error: unknown): string {
  return error instanceof ClusterError && error.code === "unavailable"
    ? error.message
    : `task ${task.id}: ${errorText(error)}`;
}

function awayError({ nodeId }: Task): ClusterError {
  return new ClusterError("unavailable", `node ${nodeId} is not available: it does not answer`);
}

function createdAt(task: Task): number {
  return task.meta?.createdAtMs ?? 0;
}
