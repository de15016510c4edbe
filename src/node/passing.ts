/**
 * Which failures of taking up a membership may go away by themselves. Pure.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";

/** Failures of a start that may pass: another process that lets go, others that come back, room on the disk. */
const passingCodes: ReadonlySet<string> = new Set([
  "unavailable",
  "deadline-exceeded",
  "aborted",
  "resource-exhausted",
]);
const passingErrnos: ReadonlySet<string> = new Set([
  "ENOSPC",
  "EDQUOT",
  "EMFILE",
  "ENFILE",
  "EAGAIN",
]);

/** Whether what kept the membership from being taken up may go away by itself. */
export function mayPass(error: unknown): boolean {
  if (error instanceof ClusterError) return passingCodes.has(error.code);
  return error instanceof Error && "code" in error && passingErrnos.has(String(error.code));
}
