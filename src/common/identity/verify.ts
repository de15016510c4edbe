/**
 * Checks a presented certificate: chain to a trusted root, time, and that it is the node, role and cluster expected.
 *
 * Chain signatures are checked by node:crypto; what the leaf says is read by our own strict parser.
 */
import { X509Certificate } from "node:crypto";
import type { NodeRole } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { certificateChainMax } from "../limits/limits.ts";
import { certificatesFromPem } from "./algorithms.ts";
import { identityOf, parseCertificate } from "./certificate.ts";
import type { Identity } from "./types.ts";

/** What the holder must be; an absent field is not checked. */
export interface Expected {
  readonly role?: NodeRole;
  readonly nodeId?: string;
  readonly clusterId?: string;
}

/**
 * Checks a chain and returns who it speaks for.
 *
 * @param options.chain PEM, or one DER certificate; the node's own comes first.
 * @param options.roots PEM bundle of trusted roots.
 * @param options.ignoreExpiry For the renewal of expired certificates only: everything but the end date is checked.
 * @throws ClusterError invalid-argument when malformed, unauthenticated when it is not trusted, expired or not valid yet,
 *   permission-denied when it speaks for somebody else than expected.
 */
export function verifyCertificate(options: {
  readonly chain: string | Uint8Array;
  readonly roots: string;
  readonly nowMs: number;
  readonly expected?: Expected;
  readonly ignoreExpiry?: boolean;
}): Identity {
  const chain =
    typeof options.chain === "string" ? certificatesFromPem(options.chain) : [options.chain];
  const [leaf, ...others] = chain;
  if (leaf === undefined || others.length > certificateChainMax) {
    throw new ClusterError("invalid-argument", "certificate chain is empty or too long");
  }
  const identity = readIdentity(leaf, options);
  checkChain(readX509(leaf), others.map(readX509), {
    roots: rootsOf(options.roots),
    nowMs: options.nowMs,
  });
  return identity;
}

/**
 * Who a certificate (DER) speaks for, when TLS has checked already that a trusted root stands behind it.
 *
 * @throws ClusterError as `verifyCertificate` does.
 */
export function readIdentity(
  leaf: Uint8Array,
  options: {
    readonly nowMs: number;
    readonly expected?: Expected;
    readonly ignoreExpiry?: boolean;
  },
): Identity {
  const certificate = parseCertificate(leaf);
  const identity = identityOf(certificate);
  checkTime(certificate, options.nowMs, options.ignoreExpiry === true);
  checkExpected(identity, options.expected ?? {});
  return identity;
}

/** @throws ClusterError permission-denied when the identity is another than expected. */
export function checkExpected(identity: Identity, expected: Expected): void {
  const wrong = (what: string, want: string, got: string) => {
    throw new ClusterError(
      "permission-denied",
      `the certificate is of ${what} ${got}, expected ${want}`,
      { fields: { "node.id": identity.nodeId } },
    );
  };
  if (expected.clusterId !== undefined && expected.clusterId !== identity.clusterId) {
    wrong("cluster", expected.clusterId, identity.clusterId);
  }
  if (expected.nodeId !== undefined && expected.nodeId !== identity.nodeId) {
    wrong("node", expected.nodeId, identity.nodeId);
  }
  if (expected.role !== undefined && expected.role !== identity.role) {
    wrong("role", expected.role, identity.role);
  }
}

/** @throws ClusterError unauthenticated when `nowMs` is outside the certificate's time. */
export function checkTime(
  time: { readonly notBeforeMs: number; readonly notAfterMs: number },
  nowMs: number,
  ignoreExpiry = false,
): void {
  if (nowMs < time.notBeforeMs) {
    throw new ClusterError(
      "unauthenticated",
      `certificate is not valid before ${new Date(time.notBeforeMs).toISOString()}; check the clock of this node`,
    );
  }
  if (nowMs > time.notAfterMs && !ignoreExpiry) {
    throw new ClusterError(
      "unauthenticated",
      `certificate has expired on ${new Date(time.notAfterMs).toISOString()}`,
    );
  }
}

/** Walks from the leaf to a root, each certificate issued and signed by the next. */
function checkChain(
  leaf: X509Certificate,
  others: readonly X509Certificate[],
  trust: { readonly roots: readonly X509Certificate[]; readonly nowMs: number },
): void {
  const usable = (x: X509Certificate) =>
    x.ca && Date.parse(x.validFrom) <= trust.nowMs && trust.nowMs <= Date.parse(x.validTo);
  let current = leaf;
  let left = others.filter(usable);
  for (;;) {
    const child = current;
    if (trust.roots.some((root) => usable(root) && isIssuedBy(child, root))) return;
    const next = left.find((x) => isIssuedBy(child, x));
    if (next === undefined) {
      throw new ClusterError(
        "unauthenticated",
        "certificate is not signed by the root CA of this cluster",
      );
    }
    left = left.filter((x) => x !== next);
    current = next;
  }
}

function isIssuedBy(child: X509Certificate, issuer: X509Certificate): boolean {
  return child.checkIssued(issuer) && child.verify(issuer.publicKey);
}

/** The roots last asked for: they are the same for every connection, and reading them costs as much as reading the leaf. */
let lastRoots: { readonly pem: string; readonly roots: readonly X509Certificate[] } | undefined;

function rootsOf(pem: string): readonly X509Certificate[] {
  if (lastRoots?.pem !== pem) lastRoots = { pem, roots: certificatesFromPem(pem).map(readX509) };
  return lastRoots.roots;
}

function readX509(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (error) {
    throw new ClusterError("invalid-argument", "malformed certificate", { cause: error });
  }
}
