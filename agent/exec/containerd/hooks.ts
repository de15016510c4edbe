/**
 * Commands of a task's service that are run in its container: each after its start, each before its stop, one after the other.
 */
import type { Containers } from "../../../src/common/container/containers.ts";
import type { Container } from "../../../src/common/container/types.ts";
import { errorText } from "../../../src/common/errors/cluster-error.ts";
import type { ContainerHook } from "../../../src/common/spec/container-labels.ts";

/** Bytes of a hook's output that are told of. */
const outputBytesMax = 512;

/** Runs all of them, up to the first that fails. @returns Why it failed; undefined when all were well. */
export async function runHooks(
  containers: Containers,
  { id }: Container,
  hooks: readonly ContainerHook[],
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const hook of hooks) {
    signal.throwIfAborted();
    const failure = await runHook(containers, id, hook, signal);
    if (failure !== undefined) return `${JSON.stringify(hook.command.join(" "))} ${failure}`;
  }
  return undefined;
}

async function runHook(
  containers: Containers,
  id: string,
  { command, env, user, workingDir, privileged }: ContainerHook,
  signal: AbortSignal,
): Promise<string | undefined> {
  const streams = { tty: false, attachStdin: false, attachStdout: true, attachStderr: true };
  const config = { command, env, user, workingDir, privileged, ...streams };
  let output = Buffer.alloc(0);
  try {
    const exec = await containers.createExec(id, config);
    const attachment = await containers.startExec(exec, { detach: false, size: undefined });
    const close = () => attachment?.close();
    signal.addEventListener("abort", close, { once: true });
    try {
      for await (const { data } of attachment?.output ?? [])
        if (output.length < outputBytesMax) output = Buffer.concat([output, data]);
    } finally {
      signal.removeEventListener("abort", close);
    }
    signal.throwIfAborted();
    const { exitCode } = containers.findExec(exec);
    if (exitCode === 0) return undefined;
    const text = output.subarray(0, outputBytesMax).toString("utf8").trim();
    return `ended with code ${exitCode ?? "unknown"}${text === "" ? "" : `: ${text}`}`;
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    return `did not run: ${errorText(error)}`;
  }
}
