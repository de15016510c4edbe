/**
 * Turns a request into a node's certificate by the cluster object's CA: pure, but for the randomness ECDSA itself uses.
 */
import type { Cluster, NodeRole } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import {
  certificateLifeMs,
  certificateLifeMsMin,
  issueNodeCertificate,
} from "../../src/common/identity/certificate.ts";
import { publicKeyOf } from "../../src/common/identity/key.ts";
import { parseRequest } from "../../src/common/identity/request.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import { signingRoot } from "./rotation.ts";

/** A certificate just issued. */
export interface IssuedCertificate {
  /** PEM of the node's certificate alone. */
  readonly certificate: string;
  /** PEM chain: the certificate, then cross-signed intermediates. */
  readonly chain: string;
  /** PEM bundle of roots to trust. */
  readonly bundle: string;
  readonly rootDigest: string;
  readonly notAfterMs: number;
  /** DER SubjectPublicKeyInfo of the node's key. */
  readonly publicKey: Uint8Array;
}

/** Whom a certificate is for. */
export interface CertificateSubject {
  readonly nodeId: string;
  readonly role: NodeRole;
}

/**
 * Signs a request.
 *
 * @param options.serial 16 random bytes.
 * @throws ClusterError invalid-argument for a bad request, failed-precondition when the cluster has no CA key.
 */
export function signRequest(options: {
  readonly cluster: Cluster;
  readonly csr: Uint8Array;
  readonly subject: CertificateSubject;
  readonly nowMs: number;
  readonly serial: Uint8Array;
}): IssuedCertificate {
  const { publicKey } = parseRequest(options.csr);
  return sign(options, publicKey);
}

/**
 * What a manager with an expired certificate does for itself before it opens Raft: no quorum is needed to form the quorum.
 *
 * The caller has the cluster object and its own node object from its checkpoint, after unlocking; the key stays the same, so
 * that it remains the member key the other managers know.
 *
 * @throws ClusterError failed-precondition when the node is no manager, or the cluster has no CA key.
 */
export function selfIssue(options: {
  readonly cluster: Cluster;
  readonly node: { readonly id: string; readonly role: NodeRole } | undefined;
  /** PKCS#8 PEM of the node's present key. */
  readonly key: string;
  readonly nowMs: number;
  readonly serial: Uint8Array;
}): TlsMaterial {
  if (options.node?.role !== "manager") {
    throw new ClusterError("failed-precondition", "only a manager issues a certificate to itself");
  }
  const subject = { nodeId: options.node.id, role: options.node.role };
  const issued = sign({ ...options, subject }, publicKeyOf(options.key));
  return { key: options.key, certificate: issued.chain, roots: issued.bundle };
}

/** How long a node's certificate lasts in this cluster, milliseconds. */
export function lifeMsOf(cluster: Cluster): number {
  const wanted = (cluster.spec?.ca?.nodeCertExpiryNs ?? 0) / 1e6;
  return wanted === 0 ? certificateLifeMs : Math.max(wanted, certificateLifeMsMin);
}

function sign(
  options: {
    readonly cluster: Cluster;
    readonly subject: CertificateSubject;
    readonly nowMs: number;
    readonly serial: Uint8Array;
  },
  publicKey: Uint8Array,
): IssuedCertificate {
  const root = signingRoot(options.cluster.rootCa);
  const { certificate, notAfterMs } = issueNodeCertificate({
    ...options.subject,
    issuer: root.issuer,
    publicKey,
    clusterId: options.cluster.id,
    nowMs: options.nowMs,
    lifeMs: lifeMsOf(options.cluster),
    serial: options.serial,
  });
  return {
    certificate,
    chain: certificate + root.intermediates,
    bundle: root.bundle,
    rootDigest: root.digest,
    notAfterMs,
    publicKey,
  };
}
