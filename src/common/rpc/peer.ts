/**
 * Who is at the other end of a call: the checked identity of a client certificate.
 *
 * TLS has checked the chain when the connection was made; here it is checked again by our own rules, once per certificate,
 * and its time and the list of removed nodes on every call, since connections live long.
 */
import type { AuthContext } from "@grpc/grpc-js/build/src/auth-context.js";
import type { Clock } from "../clock/clock.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { identityOf, parseCertificate } from "../identity/certificate.ts";
import type { Identity, TlsMaterial } from "../identity/types.ts";
import { checkTime, verifyCertificate } from "../identity/verify.ts";
import { rpcPeersRememberedMax } from "../limits/limits.ts";

/** Turns what TLS knows of a caller into an identity. */
export class PeerChecker {
  readonly #clock: Clock;
  readonly #isRemoved: (nodeId: string) => boolean;
  readonly #known = new Map<string, Identity>();
  #roots = "";
  #clusterId = "";

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
    this.#known.clear();
  }

  /**
   * The identity of the caller, or undefined when it presented no certificate that TLS could check.
   *
   * @throws ClusterError unauthenticated or permission-denied when it presented one that does not count (any more).
   */
  identify(context: AuthContext): Identity | undefined {
    const certificate = context.sslPeerCertificate;
    if (certificate === undefined) return undefined;
    const identity = this.#known.get(certificate.fingerprint256) ?? this.#check(certificate);
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
  #check(certificate: { readonly raw: Buffer; readonly fingerprint256: string }): Identity {
    const identity = verifyCertificate({
      chain: certificate.raw,
      roots: this.#roots,
      nowMs: this.#clock.now(),
      expected: { clusterId: this.#clusterId },
    });
    if (this.#known.size >= rpcPeersRememberedMax) this.#known.clear();
    this.#known.set(certificate.fingerprint256, identity);
    return identity;
  }
}
