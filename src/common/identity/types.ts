/**
 * The two shapes every part that deals with identity passes around: what a node presents, and who a peer is.
 *
 * The certificate is the identity (architecture.md, decision 9): common name = node id, organisational unit = role,
 * organisation = cluster id.
 */
import type { NodeRole } from "../api/generated/api.ts";

/** What one end of a TLS connection needs: its own key and certificate, and whom it trusts. */
export interface TlsMaterial {
  /** PKCS#8 PEM of the P-256 private key. */
  readonly key: string;
  /** PEM chain, the node's own certificate first. */
  readonly certificate: string;
  /** PEM bundle of trusted roots; two while a root rotation runs. */
  readonly roots: string;
}

/** What a certificate says about its holder. */
export interface Identity {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
  /** Milliseconds since the epoch, inclusive. */
  readonly notBeforeMs: number;
  /** Milliseconds since the epoch, inclusive. */
  readonly notAfterMs: number;
}

/** What the cluster says of a node now, whatever its certificate says: "unknown" where the tables do not have it (yet). */
export type Standing = NodeRole | "removed" | "unknown";

/** Server name that sends a TLS connection to the Raft transport's calls instead of the manager's services. */
export const raftServerName = "skep-raft";

/** Server name of the streams of messages between Raft members. */
export const raftStreamServerName = "skep-raft-stream";

/** Server name of every other call; all manager certificates carry it. */
export const managerServerName = "swarm-manager";

/** The organisational unit that stands for a role in certificates, as in Docker's swarm. */
export function unitOfRole(role: NodeRole): string {
  return role === "manager" ? "swarm-manager" : "swarm-worker";
}

/** The role an organisational unit stands for, or undefined for a unit of something else. */
export function roleOfUnit(unit: string): NodeRole | undefined {
  if (unit === "swarm-manager") return "manager";
  if (unit === "swarm-worker") return "worker";
  return undefined;
}
