/**
 * Certificate state of nodes, and which root signs: pure decisions that a root rotation (`docker swarm ca --rotate`) builds on.
 *
 * While a rotation runs, the new root signs, its certificate cross-signed by the old root goes with each chain so that nodes
 * that only know the old one accept it, and both roots are in the bundle. A node has turned over once the certificate
 * last issued to it is by the new root; when all have, the new root takes the place of the old one.
 */
import { NodeCertificate, type NodeRole, type RootCa } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Issuer } from "../../src/common/identity/certificate.ts";
import { isRequestOfKey } from "../../src/common/identity/request.ts";
import { rootDigest } from "../../src/common/identity/root.ts";

/** Who signs now, and what goes with what it signs. */
export interface SigningRoot {
  readonly issuer: Issuer;
  /** PEM certificates to append to a chain; empty without a rotation. */
  readonly intermediates: string;
  /** SHA-256 (hex) of the root the chain is meant to end at. */
  readonly digest: string;
  /** PEM bundle a node is to trust. */
  readonly bundle: string;
}

/** The root that signs now. @throws ClusterError failed-precondition when the cluster object holds no CA key. */
export function signingRoot(rootCa: RootCa | undefined): SigningRoot {
  const rotation = rootCa?.rotation;
  const certificate = textOf(rotation?.caCert ?? rootCa?.caCert);
  const key = textOf(rotation?.caKey ?? rootCa?.caKey);
  if (certificate === "" || key === "") {
    throw new ClusterError("failed-precondition", "the swarm's CA has no signing key");
  }
  return {
    issuer: { key, certificate },
    intermediates: textOf(rotation?.crossSignedCert),
    digest: rootDigest(certificate),
    bundle: trustBundle(rootCa),
  };
}

/** PEM bundle of every root in force. */
export function trustBundle(rootCa: RootCa | undefined): string {
  return textOf(rootCa?.caCert) + textOf(rootCa?.rotation?.caCert);
}

/** The certificate record of a node after this certificate was issued to it. */
export function recordIssue(
  before: NodeCertificate | undefined,
  issued: {
    readonly role: NodeRole;
    readonly csr: Uint8Array;
    readonly publicKey: Uint8Array;
    readonly certificate: string;
    readonly rootDigest: string;
    readonly notAfterMs: number;
  },
): NodeCertificate {
  const sameKey = before === undefined || isRequestOfKey(before.csr, issued.publicKey);
  return NodeCertificate.create({
    role: issued.role,
    state: "issued",
    csr: issued.csr,
    certificate: Buffer.from(issued.certificate),
    rootDigest: issued.rootDigest,
    notAfterMs: issued.notAfterMs,
    previousCsr: (sameKey ? before?.previousCsr : before.csr) ?? new Uint8Array(0),
  });
}

function textOf(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString("utf8");
}
