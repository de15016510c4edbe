/**
 * What a failed step means for its task. Pure.
 */
import type { TaskState } from "../../src/common/api/generated/api.ts";
import { ClusterError, type ErrorCode } from "../../src/common/errors/cluster-error.ts";
import type { TaskExit } from "./controller.ts";

/** Failures of a start that would come again each time: nothing but another spec or another node can help. */
const lastingCodes: ReadonlySet<ErrorCode> = new Set([
  "invalid-argument",
  "not-found",
  "failed-precondition",
  "permission-denied",
  "unauthenticated",
  "unimplemented",
  "out-of-range",
]);

/** State of a task whose preparation or start failed: REJECTED for what cannot run here, FAILED for what broke. */
export function stateAfterFailure(during: "preparing" | "starting", error: unknown): TaskState {
  if (during === "preparing") return "rejected";
  return error instanceof ClusterError && lastingCodes.has(error.code) ? "rejected" : "failed";
}

/** Docker's text for a task that ended by itself; empty when it ended well. */
export function exitText(exit: TaskExit): string {
  if (exit.lost) return exit.error === "" ? "the container ended with its node" : exit.error;
  if (exit.exitCode === 0 && exit.error === "") return "";
  const code = `task: non-zero exit (${exit.exitCode})`;
  return exit.error === "" ? code : `${code}: ${exit.error}`;
}
