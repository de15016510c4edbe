/**
 * What the main thread and the Raft worker say to each other; plain data, bytes are moved.
 */
import type { RaftMember } from "../../src/common/api/generated/api.ts";
import {
  ClusterError,
  type ErrorCode,
  type ErrorFields,
} from "../../src/common/errors/cluster-error.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import type { LogLevel } from "../../src/common/log/log.ts";
import type { HandedConnection } from "../../src/common/rpc/handed-connection.ts";
import type { DataKeys } from "../../src/common/seal/data-keys.ts";
import type { RaftProfile } from "./timing.ts";

/** What the worker is started with. */
export interface WorkerStart {
  readonly dataDir: string;
  readonly member: RaftMember;
  readonly clusterId: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly relayPath: string;
  /** The main thread takes connections as they are. */
  readonly handsOver: boolean;
  readonly tls: TlsMaterial;
  readonly keys: DataKeys;
  readonly bootstrap: boolean;
  readonly forceNewCluster: boolean;
  readonly joinMembers: readonly RaftMember[];
  readonly admitted: boolean;
  readonly profile: RaftProfile;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
}

/** An error as data. */
export interface ErrorData {
  readonly code: ErrorCode;
  readonly message: string;
  readonly fields: ErrorFields;
}

/** A member as the main thread sees it. */
export interface MemberStatus extends RaftMember {
  /** Does not vote, or not yet in full while the voters are being changed. */
  readonly learner: boolean;
  /** Heard of, or connected to, lately. */
  readonly reachable: boolean;
  /** Last index known to be in its log; 0 unless this manager leads. */
  readonly match: number;
  readonly isLeader: boolean;
}

/** Numbers of a member, for logs, benchmarks and metrics. */
export interface RaftStats {
  readonly raftId: number;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly logBytes: number;
}

/** Calls that are answered once, by id. */
export type HostCall =
  | { readonly kind: "add-member"; readonly member: RaftMember }
  | { readonly kind: "remove-member"; readonly raftId: number }
  | { readonly kind: "transfer"; readonly to: number | undefined }
  | { readonly kind: "rotate-keys"; readonly keys: DataKeys }
  | { readonly kind: "readdress"; readonly address: string }
  | { readonly kind: "update-tls"; readonly tls: TlsMaterial }
  | { readonly kind: "stop"; readonly transfer: boolean };

/** From the main thread. Proposals of one turn travel together: `lengths` cuts `bytes`. */
export type ToWorker =
  | {
      readonly type: "propose";
      readonly id: number;
      readonly lengths: Uint32Array;
      readonly bytes: Uint8Array;
    }
  | { readonly type: "read"; readonly id: number }
  | { readonly type: "applied"; readonly index: number }
  | { readonly type: "compacted"; readonly index: number }
  | { readonly type: "call"; readonly id: number; readonly call: HostCall }
  | { readonly type: "pong" }
  /** End the thread at once. */
  | { readonly type: "exit" }
  /** Answers `snapshot-wanted`, followed by chunks. */
  | {
      readonly type: "snapshot-begins";
      readonly id: number;
      readonly index: number;
      readonly term: number;
    }
  | { readonly type: "chunk"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "chunks-end"; readonly id: number; readonly error: ErrorData | undefined }
  | { readonly type: "chunk-credit"; readonly id: number }
  | {
      readonly type: "snapshot-installed";
      readonly id: number;
      readonly error: ErrorData | undefined;
    };

/** From the worker. `meta` of committed holds index, term and length of each entry. */
export type ToMain =
  | {
      readonly type: "started";
      readonly raftId: number;
      readonly host: string;
      readonly port: number;
    }
  | {
      readonly type: "proposed";
      readonly id: number;
      readonly firstIndex: number;
      readonly term: number;
    }
  | { readonly type: "proposal-failed"; readonly id: number; readonly error: ErrorData }
  | { readonly type: "read-point"; readonly id: number; readonly index: number }
  | { readonly type: "read-failed"; readonly id: number; readonly error: ErrorData }
  | {
      readonly type: "committed";
      readonly lastIndex: number;
      readonly meta: Float64Array;
      readonly bytes: Uint8Array;
    }
  | {
      readonly type: "leadership";
      readonly term: number;
      readonly leader: number;
      readonly leads: boolean;
      readonly readyIndex: number;
    }
  | { readonly type: "members"; readonly raftId: number; readonly members: readonly MemberStatus[] }
  | { readonly type: "stats"; readonly stats: RaftStats }
  | { readonly type: "answer"; readonly id: number; readonly error: ErrorData | undefined }
  | { readonly type: "ping" }
  | { readonly type: "connection"; readonly connection: HandedConnection }
  | { readonly type: "snapshot-wanted"; readonly id: number; readonly indexMin: number }
  | { readonly type: "snapshot-cancelled"; readonly id: number }
  | {
      readonly type: "snapshot-received";
      readonly id: number;
      readonly index: number;
      readonly term: number;
    }
  | { readonly type: "chunk"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "chunks-end"; readonly id: number; readonly error: ErrorData | undefined }
  | { readonly type: "chunk-credit"; readonly id: number }
  | {
      readonly type: "log";
      readonly level: LogLevel;
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly type: "removed" }
  /** What waited for each other, in order. */
  | { readonly type: "several"; readonly messages: readonly ToMain[] }
  /** The group can have no leader until a person acts, or may go on. */
  | { readonly type: "standstill"; readonly reason: string | undefined }
  /** Writes stand still because the device is full, or go on. */
  | { readonly type: "stalled"; readonly reason: string | undefined }
  | { readonly type: "fatal"; readonly error: ErrorData };

/** An error made ready to travel. */
export function errorData(error: unknown): ErrorData {
  if (error instanceof ClusterError) {
    return { code: error.code, message: error.message, fields: error.fields };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: "internal", message, fields: {} };
}

/** The error that travelled. */
export function errorFromData(data: ErrorData): ClusterError {
  return new ClusterError(data.code, data.message, { fields: data.fields });
}
