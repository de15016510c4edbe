/**
 * Attaches clients to the standard streams of containers: any number to the output, and whoever writes to the input.
 */
import type {
  Attachment,
  AttachOptions,
  LogOptions,
  OutputChunk,
} from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { ClusterError } from "../../../src/common/errors/cluster-error.ts";
import type { ContainerOutput } from "./container-output.ts";
import { readLog } from "./log-reader.ts";

/** The container's standard input, as far as there is one. */
export interface ContainerInput {
  /** Resolves when the pipe of the run under way, or of the next one, has taken the bytes. */
  write(data: Uint8Array, signal: AbortSignal): Promise<void>;
  /**
   * Its writer is done: the process sees the end where the container was made that way.
   *
   * @param signal Ends the wait for a process that does not run yet; aborted, it concerns only one that runs.
   */
  end(signal: AbortSignal): Promise<void>;
}

/** @throws ClusterError failed-precondition while the container is paused. */
export function attachTo(
  container: Container,
  output: ContainerOutput,
  input: ContainerInput | undefined,
  options: AttachOptions,
): Attachment {
  if (container.state.phase === "paused") {
    throw new ClusterError(
      "failed-precondition",
      `container ${container.name} is paused, unpause the container before attach`,
    );
  }
  const stop = new AbortController();
  const { stdout, stderr } = options;
  const untilNs = output.lastTimeNs;
  const live = options.stream
    ? output.subscribe({
        stdout,
        stderr,
        unfinished: options.logs,
        thisRun: container.state.phase === "running",
      })
    : undefined;
  const held = options.stdin && options.stream ? input : undefined;
  const close = () => {
    live?.close();
    stop.abort();
    options.signal.removeEventListener("abort", close);
    // What is left of the container's input then is not for this client to say.
    held?.end(stop.signal).catch(() => undefined);
  };
  options.signal.addEventListener("abort", close, { once: true });
  if (options.signal.aborted) close();
  const logOptions = { stdout, stderr, untilNs, signal: stop.signal };
  return {
    tty: container.config.tty,
    output: chunks(options.logs ? logged(output, logOptions) : undefined, live?.output),
    write: async (data) => held?.write(data, stop.signal),
    closeStdin: async () => held?.end(stop.signal),
    close,
  };
}

async function* chunks(
  logged: AsyncIterable<OutputChunk> | undefined,
  live: AsyncGenerator<OutputChunk, void, void> | undefined,
): AsyncGenerator<OutputChunk, void, void> {
  if (logged !== undefined) yield* logged;
  if (live !== undefined) yield* live;
}

async function* logged(
  output: ContainerOutput,
  options: Pick<LogOptions, "stdout" | "stderr" | "untilNs" | "signal">,
): AsyncGenerator<OutputChunk, void, void> {
  const all = { ...options, follow: false, sinceNs: undefined, tail: undefined };
  for await (const { stream, data } of readLog(output.files, all)) yield { stream, data };
}
