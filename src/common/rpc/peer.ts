/**
 * Who is at the other end of a call: the checked identity of a client certificate.
 *
 * TLS has checked the chain when the connection was made; here the certificate is read by our own rules, once per connection.
 * Connections live long, so its time and what the cluster says of the node now are looked at on every call: a removed
 * node is refused, and a manager's certificate is worth no more than a worker's once its node has been demoted.
 */
import type { Clock } from "../clock/clock.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { identityOf, parseCertificate } from "../identity/certificate.ts";
import type { Identity, Standing, TlsMaterial } from "../identity/types.ts";
import { checkTime, readIdentity, verifyCertificate } from "../identity/verify.ts";
import type { Connection } from "./connections.ts";

/** Turns what TLS knows of a caller into an identity. */
export class PeerChecker {
  readonly #clock: Clock;
  readonly #standing: (nodeId: string) => Standing;
  #roots = "";
  #clusterId = "";
  #epoch = 0;

  constructor(options: {
    readonly tls: TlsMaterial;
    readonly clock: Clock;
    /** What the cluster says of a node now; asked on every call. */
    readonly standing: (nodeId: string) => Standing;
  }) {
    this.#clock = options.clock;
    this.#standing = options.standing;
    this.update(options.tls);
  }

  /** Stands for the roots that are trusted now. */
  get epoch(): number {
    return this.#epoch;
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
   * @throws ClusterError unauthenticated or permission-denied when it presented one that does not count (any more).
   */
  identify(connection: Connection): Identity | undefined {
    // Once per connection: reading the certificate is the dearest part of a small call.
    if (connection.peer?.epoch !== this.#epoch) {
      const { secure } = connection;
      const certificate = secure?.authorized ? secure.getPeerX509Certificate()?.raw : undefined;
      const identity = certificate && this.#check(certificate, connection.epoch);
      connection.peer = { identity, epoch: this.#epoch };
    }
    const { identity } = connection.peer;
    if (identity === undefined) return undefined;
    checkTime(identity, this.#clock.now());
    const standing = this.#standing(identity.nodeId);
    if (standing === "removed") {
      throw new ClusterError(
        "permission-denied",
        `node ${identity.nodeId} has been removed from this swarm`,
        { fields: { "node.id": identity.nodeId, removed: true } },
      );
    }
    // The other way round a node needs its new certificate first; one that is not known (yet) is what it shows.
    return standing === "worker" && identity.role === "manager"
      ? { ...identity, role: "worker" }
      : identity;
  }

  /**
   * TLS has checked the chain, under the trust of when the connection was made; under another one it is checked again: the
   * certificate alone, as intermediates a client sends are not shown here, and a manager's bundle has every root in force.
   */
  #check(certificate: Uint8Array, epoch: number): Identity {
    const common = { nowMs: this.#clock.now(), expected: { clusterId: this.#clusterId } };
    if (epoch === this.#epoch) return readIdentity(certificate, common);
    return verifyCertificate({ chain: certificate, roots: this.#roots, ...common });
  }
}
