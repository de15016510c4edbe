/**
 * Entry of the Raft worker thread: opens the session and passes messages on. Started by `host.ts`.
 */
import { parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../../src/common/clock/clock.ts";
import type { Log, LogFields, LogLevel } from "../../src/common/log/log.ts";
import { giveBackMemory, ownHeap } from "../../src/common/memory/give-back.ts";
import { errorData, type ToMain, type ToWorker, type WorkerStart } from "./host-messages.ts";
import { WorkerSession } from "./worker-session.ts";

const port = parentPort;
if (port === null) throw new Error("worker.ts runs in a worker thread only");

function post(message: ToMain, transfer: readonly ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

function forwardingLog(base: LogFields): Log {
  const put = (level: LogLevel) => (message: string, fields?: LogFields) => {
    post({ type: "log", level, message, fields: plainFields({ ...base, ...fields }) });
  };
  return {
    error: put("error"),
    warn: put("warn"),
    info: put("info"),
    debug: put("debug"),
    with: (fields) => forwardingLog({ ...base, ...fields }),
  };
}

function plainFields(fields: LogFields): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    plain[key] = value instanceof Error ? value.message : value;
  }
  return plain;
}

const early: ToWorker[] = [];
let session: WorkerSession | undefined;
port.on("message", (message: ToWorker) => {
  if (message.type === "exit") process.exit(0);
  if (session === undefined) early.push(message);
  else session.handle(message);
});

WorkerSession.open(workerData as WorkerStart, post, forwardingLog({ component: "raft" })).then(
  (opened) => {
    session = opened;
    const stop = new AbortController();
    // Nothing else holds the thread then: it ends.
    opened.closed.then(() => {
      stop.abort();
      port.close();
    });
    giveBackMemory(systemClock, ownHeap(), stop.signal);
    for (const message of early) opened.handle(message);
  },
  (error: unknown) => {
    post({ type: "fatal", error: errorData(error) });
    port.close();
  },
);
