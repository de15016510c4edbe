/**
 * Who is at the other end of a call: the checked identity of a client certificate.
 *
 * TLS has checked the chain when the connection was made; here it is checked again by our own rules, once per connection,
 * and its time and the list of removed nodes on every call, since connections live long.
 */
import type { AuthContext } from "@grpc/grpc-js/build/src/auth-context.js";
import type { Clock } from "../clock/clock.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { identityOf, parseCertificate } from "../identity/certificate.ts";
import type { Identity, TlsMaterial } from "../identity/types.ts";
import { checkTime, verifyCertificate } from "../identity/verify.ts";
import type { Connection } from "./connections.ts";

/** Turns what TLS knows of a caller into an identity. */
export class PeerChecker {
  readonly #clock: Clock;
  readonly #isRemoved: (nodeId: string) => boolean;
  #roots = "";
  #clusterId = "";
  #epoch = 0;

  constructor(options: {
    readonly tls: TlsMaterial;
    readonly clock: Clock;
    /** Whether this node was removed from the cluster; asked on every call. */
    readonly isRemoved: (nodeId: string) => boolean;
  }) {
    this.#clock = options.clock;
    this.#isRemoved = options.isRemoved;
    this.update(options.tls);
  }

  /** Trusts the roots of `tls` from now on. */
  update(tls: TlsMaterial): void {
    this.#roots = tls.roots;
    this.#clusterId = identityOf(parseCertificate(tls.certificate)).clusterId;
    this.#epoch++;
  }

  /**
   * The identity of the caller, or undefined when it presented no certificate that TLS could check.
   *
   * @param context Asked once per connection: reading the certificate is the dearest part of a small call.
   * @throws ClusterError unauthenticated or permission-denied when it presented one that does not count (any more).
   */
  identify(connection: Connection, context: () => AuthContext): Identity | undefined {
    if (connection.peer?.epoch !== this.#epoch) {
      const certificate = context().sslPeerCertificate;
      const identity = certificate && this.#check(certificate.raw);
      connection.peer = { identity, epoch: this.#epoch };
    }
    const { identity } = connection.peer;
    if (identity === undefined) return undefined;
    checkTime(identity, this.#clock.now());
    if (this.#isRemoved(identity.nodeId)) {
      throw new ClusterError(
        "permission-denied",
        `node ${identity.nodeId} has been removed from this swarm`,
        { fields: { "node.id": identity.nodeId, removed: true } },
      );
    }
    return identity;
  }

  /** The certificate alone: intermediates a client sends are not shown here, and a manager's bundle has every root in force. */
  #check(certificate: Uint8Array): Identity {
    return verifyCertificate({
      chain: certificate,
      roots: this.#roots,
      nowMs: this.#clock.now(),
      expected: { clusterId: this.#clusterId },
    });
  }
}
