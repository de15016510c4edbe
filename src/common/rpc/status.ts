/**
 * `ClusterError` to gRPC status and back: the text as it is, the fields as JSON in the trailing metadata. On direct streams, which
 * have no gRPC, all of it is JSON.
 */
import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { ClusterError, type ErrorCode, type ErrorFields } from "../errors/cluster-error.ts";
import { rpcErrorTextMax } from "../limits/limits.ts";

const numberOfCode: Readonly<Record<ErrorCode, status>> = {
  cancelled: status.CANCELLED,
  unknown: status.UNKNOWN,
  "invalid-argument": status.INVALID_ARGUMENT,
  "deadline-exceeded": status.DEADLINE_EXCEEDED,
  "not-found": status.NOT_FOUND,
  "already-exists": status.ALREADY_EXISTS,
  "permission-denied": status.PERMISSION_DENIED,
  "resource-exhausted": status.RESOURCE_EXHAUSTED,
  "failed-precondition": status.FAILED_PRECONDITION,
  aborted: status.ABORTED,
  "out-of-range": status.OUT_OF_RANGE,
  unimplemented: status.UNIMPLEMENTED,
  internal: status.INTERNAL,
  unavailable: status.UNAVAILABLE,
  unauthenticated: status.UNAUTHENTICATED,
};
const codeOfNumber = new Map(
  Object.entries(numberOfCode).map(([code, number]) => [number, code as ErrorCode]),
);
/** Trailer with the fields, and the sign that the status came from our own handler, not from the transport. */
const fieldsKey = "skep-error-fields";
const fieldsBytesMax = 4_096;

/** The status a handler's failure ends its call with. What is not a `ClusterError` is hidden as "internal". */
export function statusFromError(error: unknown): StatusObject {
  const metadata = new Metadata();
  if (!(error instanceof ClusterError)) {
    return {
      code: status.INTERNAL,
      details: "internal error; see the log of the manager",
      metadata,
    };
  }
  const fields = JSON.stringify(error.fields);
  // Escaped, as header values are ASCII.
  const text = encodeURIComponent(fields);
  metadata.set(fieldsKey, text.length <= fieldsBytesMax ? text : "%7B%7D");
  return {
    code: numberOfCode[error.code],
    details: error.message.slice(0, rpcErrorTextMax),
    metadata,
  };
}

/** How a direct stream ended, for its last frame: nothing, or its failure. What is not a `ClusterError` is hidden as "internal". */
export function errorToBytes(error: unknown): Uint8Array {
  const { code, message, fields } =
    error instanceof ClusterError
      ? error
      : new ClusterError("internal", "internal error; see the log of the manager");
  const isShort = JSON.stringify(fields).length <= fieldsBytesMax;
  const said = { code, message: message.slice(0, rpcErrorTextMax), fields: isShort ? fields : {} };
  return Buffer.from(JSON.stringify(said));
}

/** The failure in the last frame of a direct stream; undefined when it ended well. */
export function errorFromBytes(bytes: Uint8Array): ClusterError | undefined {
  if (bytes.length === 0) return undefined;
  try {
    const said: unknown = JSON.parse(Buffer.from(bytes).toString());
    const { code, message, fields } = said as Record<string, unknown>;
    const known = typeof code === "string" && Object.hasOwn(numberOfCode, code);
    return new ClusterError(known ? (code as ErrorCode) : "unknown", String(message), {
      fields: typeof fields === "object" && fields !== null ? (fields as ErrorFields) : {},
    });
  } catch (cause) {
    return new ClusterError("internal", "the call ended in a way that is not understood", {
      cause,
    });
  }
}

/** The error of a failed call. Transport failures arrive as "unavailable", "cancelled" or "deadline-exceeded". */
export function errorFromStatus(error: unknown): ClusterError {
  if (error instanceof ClusterError) return error;
  if (!isServiceError(error)) {
    return new ClusterError("internal", "the call failed in an unexpected way", { cause: error });
  }
  const fields = fieldsOf(error.metadata);
  return new ClusterError(codeOfNumber.get(error.code) ?? "unknown", error.details, {
    cause: error,
    ...(fields && { fields }),
  });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

function fieldsOf(metadata: Metadata | undefined): ErrorFields | undefined {
  const value = metadata?.get(fieldsKey)[0];
  if (typeof value !== "string") return undefined;
  try {
    const parsed: unknown = JSON.parse(decodeURIComponent(value));
    return typeof parsed === "object" && parsed !== null ? (parsed as ErrorFields) : undefined;
  } catch {
    // Fields are an extra; a peer that garbles them has still sent code and text.
    return undefined;
  }
}
