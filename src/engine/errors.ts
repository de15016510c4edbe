/**
 * Turns errors into HTTP replies, and control's errors into the form Docker's users know. Nothing else maps codes to HTTP.
 *
 * Follows docker-facts 1.12: errors of the manager read `rpc error: code = NotFound desc = …`, the reply is always
 * `{"message": …}`.
 */
import { ClusterError, type ErrorCode, errorText } from "../common/errors/cluster-error.ts";

/** gRPC's names of the codes, as they stand in messages. */
const rpcNames: Readonly<Record<ErrorCode, string>> = {
  cancelled: "Canceled",
  unknown: "Unknown",
  "invalid-argument": "InvalidArgument",
  "deadline-exceeded": "DeadlineExceeded",
  "not-found": "NotFound",
  "already-exists": "AlreadyExists",
  "permission-denied": "PermissionDenied",
  "resource-exhausted": "ResourceExhausted",
  "failed-precondition": "FailedPrecondition",
  aborted: "Aborted",
  "out-of-range": "OutOfRange",
  unimplemented: "Unimplemented",
  internal: "Internal",
  unavailable: "Unavailable",
  unauthenticated: "Unauthenticated",
};

/** HTTP status of each code; those Docker has no own status for are 500 as there, or 503 when trying again helps. */
const statuses: Readonly<Record<ErrorCode, number>> = {
  cancelled: 500,
  unknown: 500,
  "invalid-argument": 400,
  "deadline-exceeded": 503,
  "not-found": 404,
  "already-exists": 409,
  "permission-denied": 403,
  "resource-exhausted": 503,
  "failed-precondition": 400,
  aborted: 409,
  "out-of-range": 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  unauthenticated: 401,
};

/** Status and message of the reply to a failed request. */
export interface ErrorReply {
  readonly status: number;
  readonly message: string;
  /** Not an expected failure: a bug, to be logged. */
  readonly unexpected: boolean;
}

/** The reply for anything thrown by a handler. */
export function errorReply(error: unknown): ErrorReply {
  if (error instanceof ClusterError)
    return { status: statuses[error.code], message: error.message, unexpected: false };
  return { status: 500, message: `internal error: ${errorText(error)}`, unexpected: true };
}

/**
 * The error of a control method or a read barrier, with the prefix users know from Docker's manager.
 *
 * What the managers aborted was not carried out and may be tried again: 503. A client would take 409 for "it exists".
 */
export function fromManager(error: unknown): unknown {
  if (!(error instanceof ClusterError)) return error;
  const text = `rpc error: code = ${rpcNames[error.code]} desc = ${error.message}`;
  const code = error.code === "aborted" ? "unavailable" : error.code;
  return new ClusterError(code, text, { cause: error, fields: error.fields });
}
