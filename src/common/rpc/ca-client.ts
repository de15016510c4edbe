/**
 * How a node gets its certificates: joining with a token, renewing, and coming back after its certificate ran out.
 *
 * Each flow ends with material that was checked against the root before it is returned; keeping it on disk is the caller's task.
 */
import {
  IssueNodeCertificateRequest,
  type IssueNodeCertificateResponse,
  type NodeAvailability,
  NodeCaService,
  RenewExpiredRequest,
} from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import { certificatesFromPem, certificateToPem } from "../identity/algorithms.ts";
import { identityOf, parseCertificate } from "../identity/certificate.ts";
import { publicKeyOf, signWithKey } from "../identity/key.ts";
import { renewalProof } from "../identity/renewal-proof.ts";
import { createRequest } from "../identity/request.ts";
import { rootDigest } from "../identity/root.ts";
import { parseJoinToken } from "../identity/token.ts";
import type { Identity, TlsMaterial } from "../identity/types.ts";
import { verifyCertificate } from "../identity/verify.ts";
import { dial, type RpcClient } from "./client.ts";

/** A certificate just received, with the key it is for. */
export interface ReceivedIdentity {
  readonly tls: TlsMaterial;
  readonly identity: Identity;
}

/**
 * Fetches the cluster's root from a manager nobody vouches for yet, and checks it against a digest.
 *
 * @returns PEM of that one certificate; whatever else the manager sent is dropped.
 * @throws ClusterError invalid-argument when it is another root; unavailable when nobody answers.
 */
export async function fetchRoot(options: {
  readonly address: string;
  /** Lower-case hex SHA-256 from a join token. */
  readonly digest: string;
  readonly signal?: AbortSignal;
}): Promise<string> {
  const client = dial({ address: options.address, tls: "unverified" });
  try {
    const { certificate } = await client.call(
      NodeCaService.getRootCertificate,
      {},
      signalOf(options),
    );
    const [first] = certificatesFromPem(Buffer.from(certificate).toString("latin1"));
    const root = certificateToPem(first ?? Buffer.alloc(0));
    if (rootDigest(root) !== options.digest) {
      throw new ClusterError(
        "invalid-argument",
        `remote CA does not match fingerprint. Expected: ${options.digest}`,
      );
    }
    return root;
  } finally {
    client.close();
  }
}

/**
 * Joins a cluster: checks its root against the token, then asks for a certificate.
 *
 * @param options.key PKCS#8 PEM of a new key. Keep it until the join has succeeded: asking again with the same key gives the
 *   same node, another key another one.
 * @throws ClusterError invalid-argument for a bad, wrong or rotated token or a foreign root.
 */
export async function join(options: {
  readonly address: string;
  readonly token: string;
  readonly key: string;
  readonly availability: NodeAvailability;
  readonly nowMs: number;
  readonly signal?: AbortSignal;
}): Promise<ReceivedIdentity> {
  const { rootDigest: digest } = parseJoinToken(options.token);
  const roots = await fetchRoot({ ...options, digest });
  const client = dial({ address: options.address, tls: { roots } });
  try {
    const response = await client.call(
      NodeCaService.issueNodeCertificate,
      IssueNodeCertificateRequest.create({
        csr: createRequest(options.key),
        token: options.token,
        availability: options.availability,
      }),
      signalOf(options),
    );
    return checkResponse(response, { ...options, roots });
  } finally {
    client.close();
  }
}

/**
 * Fetches the next certificate over a connection that shows the present one; the role in it is the one the cluster now wants.
 *
 * @param options.key PKCS#8 PEM of the next key. Keep it across attempts: the cluster knows the last two keys of a node only.
 */
export async function renew(options: {
  readonly client: RpcClient;
  readonly present: TlsMaterial;
  readonly key: string;
  readonly nowMs: number;
  readonly signal?: AbortSignal;
}): Promise<ReceivedIdentity> {
  const response = await options.client.call(
    NodeCaService.issueNodeCertificate,
    IssueNodeCertificateRequest.create({ csr: createRequest(options.key) }),
    signalOf(options),
  );
  const { nodeId } = identityOf(parseCertificate(options.present.certificate));
  return checkResponse(response, { ...options, roots: options.present.roots, nodeId });
}

/**
 * Fetches a new certificate for a node whose present one has expired, by a signature with its key.
 *
 * @throws ClusterError permission-denied when the node was removed; aborted and resource-exhausted when it should try again.
 */
export async function renewExpired(options: {
  readonly address: string;
  readonly present: TlsMaterial;
  /** PKCS#8 PEM of the next key; may be the present one. */
  readonly key: string;
  readonly nowMs: number;
  readonly signal?: AbortSignal;
}): Promise<ReceivedIdentity> {
  const { present } = options;
  const { nodeId, clusterId } = identityOf(parseCertificate(present.certificate));
  const csr = createRequest(options.key);
  const client = dial({
    address: options.address,
    tls: { roots: present.roots },
    expected: { role: "manager", clusterId },
  });
  try {
    const { nonce } = await client.call(
      NodeCaService.renewChallenge,
      { nodeId },
      signalOf(options),
    );
    const response = await client.call(
      NodeCaService.renewExpired,
      RenewExpiredRequest.create({
        nodeId,
        certificate: Buffer.from(present.certificate),
        csr,
        nonce,
        signature: signWithKey(present.key, renewalProof({ clusterId, nodeId, nonce, csr })),
      }),
      signalOf(options),
    );
    return checkResponse(response, { ...options, roots: present.roots, nodeId });
  } finally {
    client.close();
  }
}

/** @throws ClusterError internal when the answer is not a certificate for this key by a root already trusted. */
function checkResponse(
  response: IssueNodeCertificateResponse,
  wanted: {
    readonly key: string;
    readonly roots: string;
    readonly nowMs: number;
    readonly nodeId?: string;
  },
): ReceivedIdentity {
  const certificate = Buffer.from(response.certificateChain).toString("latin1");
  const identity = verifyCertificate({
    chain: certificate,
    roots: wanted.roots,
    nowMs: wanted.nowMs,
    expected: { clusterId: response.clusterId, nodeId: wanted.nodeId ?? response.nodeId },
  });
  if (!parseCertificate(certificate).publicKey.equals(publicKeyOf(wanted.key))) {
    throw new ClusterError("internal", "the certificate received is for another key");
  }
  const roots = Buffer.from(response.rootBundle).toString("latin1");
  certificatesFromPem(roots);
  return { tls: { key: wanted.key, certificate, roots }, identity };
}

function signalOf(options: { readonly signal?: AbortSignal }): { readonly signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal };
}
