/**
 * The one error type for expected failures.
 *
 * Codes are those of gRPC in words; `src/common/rpc/status.ts` turns them into gRPC statuses and `src/engine/errors.ts`
 * into HTTP replies, nobody else does. Anything thrown that is not a `ClusterError` is a bug.
 */

/** What kind of failure it is; callers branch on this, never on the text. */
export type ErrorCode =
  | "cancelled"
  | "unknown"
  | "invalid-argument"
  | "deadline-exceeded"
  | "not-found"
  | "already-exists"
  | "permission-denied"
  | "resource-exhausted"
  | "failed-precondition"
  | "aborted"
  | "out-of-range"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "unauthenticated";

/** Ids and further facts the failure concerns, for logs and for callers. */
export type ErrorFields = Readonly<Record<string, string | number | boolean>>;

/** An expected failure with a code, a message for the person who will act, and the ids it concerns. */
export class ClusterError extends Error {
  readonly code: ErrorCode;
  readonly fields: ErrorFields;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; fields?: ErrorFields } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ClusterError";
    this.code = code;
    this.fields = options.fields ?? {};
  }
}

/** Whether `error` is a `ClusterError` with this code. */
export function hasCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof ClusterError && error.code === code;
}

/** The text of anything thrown, for messages and log fields. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
