/**
 * Who may call what: the one table of all RPC methods. A method without an entry cannot be registered.
 */
import { ClusterError } from "../errors/cluster-error.ts";
import type { Identity } from "../identity/types.ts";

/** `anyone` needs no client certificate: such a method checks a token or a signature itself. */
export type Caller = "anyone" | "worker" | "manager";

const everyNode: readonly Caller[] = ["worker", "manager"];
const managers: readonly Caller[] = ["manager"];
const anyone: readonly Caller[] = ["anyone"];

const callersOfMethod: Readonly<Record<string, readonly Caller[]>> = {
  "/skep.v1.NodeCa/GetRootCertificate": anyone,
  "/skep.v1.NodeCa/IssueNodeCertificate": anyone,
  "/skep.v1.NodeCa/RenewChallenge": anyone,
  "/skep.v1.NodeCa/RenewExpired": anyone,
  "/skep.v1.NodeCa/GetUnlockKey": managers,
  "/skep.v1.Dispatcher/Session": everyNode,
  "/skep.v1.NetworkAttachments/Attach": everyNode,
  "/skep.v1.NetworkAttachments/Detach": everyNode,
  "/skep.v1.NetworkSettling/Settle": everyNode,
  "/skep.v1.LivenessRelay/Report": managers,
  "/skep.v1.StatusRelay/Report": managers,
  "/skep.v1.Tunnel/Open": everyNode,
  "/skep.v1.TunnelRelay/Ask": managers,
  "/skep.v1.RaftTransport/Snapshot": managers,
  "/skep.v1.RaftTransport/Rejoin": managers,
  "/skep.v1.RaftMembership/Join": managers,
  "/skep.v1.RaftMembership/Leave": managers,
  "/skep.v1.ControlRelay/Relay": managers,
  "/skep.v1.Control/CreateSecret": managers,
  "/skep.v1.Control/UpdateSecret": managers,
  "/skep.v1.Control/RemoveSecret": managers,
  "/skep.v1.Control/CreateConfig": managers,
  "/skep.v1.Control/UpdateConfig": managers,
  "/skep.v1.Control/RemoveConfig": managers,
  "/skep.v1.Control/CreateNetwork": managers,
  "/skep.v1.Control/RemoveNetwork": managers,
  "/skep.v1.Control/CreateService": managers,
  "/skep.v1.Control/UpdateService": managers,
  "/skep.v1.Control/RemoveService": managers,
  "/skep.v1.Control/UpdateNode": managers,
  "/skep.v1.Control/RemoveNode": managers,
  "/skep.v1.Control/UpdateCluster": managers,
};

/** Who may call the method at this path. @throws Error when the table has no entry for it: a bug, found at start. */
export function callersOf(path: string): readonly Caller[] {
  const callers = Object.hasOwn(callersOfMethod, path) ? callersOfMethod[path] : undefined;
  if (callers === undefined) {
    throw new Error(`the RPC method ${path} has no entry in src/common/rpc/roles.ts`);
  }
  return callers;
}

/** Paths of all methods in the table. */
export function knownMethods(): readonly string[] {
  return Object.keys(callersOfMethod);
}

/**
 * Refuses a call its caller may not make.
 *
 * @param peer Who presented a valid certificate of this cluster, or undefined when nobody did.
 * @throws ClusterError unauthenticated without a certificate, permission-denied with the wrong role.
 */
export function checkCaller(path: string, peer: Identity | undefined): void {
  const callers = callersOf(path);
  if (callers.includes("anyone")) return;
  if (peer === undefined) throw noCertificate();
  if (!callers.includes(peer.role)) {
    throw new ClusterError(
      "permission-denied",
      `this call is for nodes with the role ${callers.join(" or ")}; node ${peer.nodeId} is a ${peer.role}`,
      { fields: { "node.id": peer.nodeId } },
    );
  }
}

/** Refuses a caller that showed no certificate which TLS could check. */
export function noCertificate(): ClusterError {
  return new ClusterError(
    "unauthenticated",
    "no valid certificate of this swarm was presented: it is missing, expired or of another swarm",
  );
}
