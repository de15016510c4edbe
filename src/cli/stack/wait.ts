/**
 * Waits until a service is what others that depend on it want it to be.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ClusterError } from "../../common/errors/cluster-error.ts";
import { durationText } from "../../stack/units.ts";
import type { Json, StackClient } from "./client.ts";

/** What is waited for: `converged` is what `--detach=false` waits for. */
export type Condition =
  | "service_started"
  | "service_healthy"
  | "service_completed_successfully"
  | "converged";

/** How often the managers are asked, milliseconds, as the stock client does. */
const periodMs = 200;

/**
 * @param o.name Full name of the service.
 * @throws ClusterError deadline-exceeded when it takes longer, failed-precondition when it can no longer come to it.
 */
export async function untilService(
  client: StackClient,
  o: { readonly name: string; readonly condition: Condition; readonly timeoutMs: number },
): Promise<void> {
  const until = Date.now() + o.timeoutMs;
  for (;;) {
    const verdict = await verdictOn(client, o);
    if (verdict === "met") return;
    if (Date.now() > until)
      throw new ClusterError(
        "deadline-exceeded",
        `service ${o.name} is not ${words[o.condition]} after ${durationText(o.timeoutMs * 1e6)}: ${verdict}`,
      );
    await delay(periodMs);
  }
}

const words: Readonly<Record<Condition, string>> = {
  service_started: "started",
  service_healthy: "healthy",
  service_completed_successfully: "completed",
  converged: "converged",
};

async function verdictOn(
  client: StackClient,
  o: { readonly name: string; readonly condition: Condition },
): Promise<string> {
  const service = await client.find("services", o.name);
  if (service === undefined) throw new ClusterError("not-found", `service ${o.name} was removed`);
  const tasks = await client.tasks({
    service: { [service.id]: true },
    "_up-to-date": { true: true },
  });
  return judge(service.raw, tasks, o.condition);
}

const startedStates = new Set(["starting", "running", "complete"]);

/** `met`, or what is missing. Pure. @throws ClusterError failed-precondition for an update that stopped. */
export function judge(service: Json, tasks: readonly Json[], condition: Condition): string {
  const update = service["UpdateStatus"] as
    | { readonly State?: string; readonly Message?: string }
    | undefined;
  if (
    update?.State === "paused" ||
    update?.State === "rollback_paused" ||
    update?.State === "rollback_completed"
  )
    throw new ClusterError(
      "failed-precondition",
      `update of service ${nameOf(service)} is ${update.State}: ${update.Message ?? ""}`,
    );
  const mode = ((service["Spec"] as Json | undefined)?.["Mode"] ?? {}) as Readonly<
    Record<string, Json | undefined>
  >;
  const wanted = Number(mode["Replicated"]?.["Replicas"] ?? 1);
  const iteration = jobIteration(service);
  const states = tasks
    .filter((task) => iteration === undefined || jobIteration(task) === iteration)
    .map((task) => ({ state: stateOf(task), desired: String(task["DesiredState"] ?? "") }));
  const count = (state: string) => states.filter((one) => one.state === state).length;
  const last = tasks
    .map((task) => (task["Status"] as { readonly Err?: string } | undefined)?.Err ?? "")
    .find((text) => text !== "");
  const missing = (text: string) => (last === undefined ? text : `${text} (${last})`);
  switch (condition) {
    case "service_started":
      if (wanted === 0 || states.some(({ state }) => startedStates.has(state))) return "met";
      return missing("no task has started");
    case "service_completed_successfully": {
      const total = Number(mode["ReplicatedJob"]?.["TotalCompletions"] ?? 1);
      const isAll =
        mode["GlobalJob"] !== undefined &&
        states.length > 0 &&
        states.every(({ state }) => state === "complete");
      const done = count("complete");
      return isAll || (mode["GlobalJob"] === undefined && done >= total)
        ? "met"
        : missing(`${done} of ${total} tasks are complete`);
    }
    default: {
      if (mode["ReplicatedJob"] !== undefined || mode["GlobalJob"] !== undefined)
        return states.length > 0 ? "met" : missing("the job has no task yet");
      if (condition === "converged" && update?.State === "updating")
        return missing("the update goes on");
      const running = count("running");
      const target =
        mode["Global"] !== undefined
          ? Math.max(1, states.filter(({ desired }) => desired === "running").length)
          : wanted;
      return running >= target ? "met" : missing(`${running} of ${target} tasks run`);
    }
  }
}

function stateOf(task: Json): string {
  return String((task["Status"] as Json | undefined)?.["State"] ?? "");
}

function jobIteration(object: Json): number | undefined {
  const status = object["JobStatus"] as Json | undefined;
  const iteration = (status?.["JobIteration"] ?? object["JobIteration"]) as
    | { readonly Index?: number }
    | undefined;
  return iteration === undefined ? undefined : (iteration.Index ?? 0);
}

function nameOf(service: Json): string {
  return String((service["Spec"] as Json | undefined)?.["Name"] ?? service["ID"] ?? "");
}
