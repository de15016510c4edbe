/**
 * The leader's side of issuing: decides for whom, signs, and records the outcome with the node, in one transaction.
 */
import {
  type Cluster,
  type IssueNodeCertificateRequest,
  IssueNodeCertificateResponse,
  Node,
  type NodeCertificate,
  type NodeRole,
  NodeSpec,
  NodeStatus,
  type RenewExpiredRequest,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { parseCertificate } from "../../src/common/identity/certificate.ts";
import { verifyWithKey } from "../../src/common/identity/key.ts";
import { renewalProof } from "../../src/common/identity/renewal-proof.ts";
import { isRequestOfKey, parseRequest } from "../../src/common/identity/request.ts";
import { sameToken } from "../../src/common/identity/token.ts";
import { verifyCertificate } from "../../src/common/identity/verify.ts";
import { newId } from "../../src/common/ids/ids.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { freeNodeNumber } from "./numbers.ts";
import { type CaStore, type CaTx, type CaView, nodeTombstoneId } from "./ports.ts";
import { recordIssue, trustBundle } from "./rotation.ts";
import { type CertificateSubject, type IssuedCertificate, signRequest } from "./signer.ts";

/** Issues certificates; used on the leader only. */
export class IssueDesk {
  readonly #store: CaStore;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Log;
  /** Numbers of nodes whose creation is under way: two joins at once must not pick the same. */
  readonly #reserved = new Set<number>();

  constructor(options: {
    readonly store: CaStore;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#log = options.log;
  }

  /**
   * Takes a new node in, in the role its token stands for.
   *
   * @throws ClusterError invalid-argument when the token is not one of the present two, or the request is bad.
   */
  async joinByToken(
    q: IssueNodeCertificateRequest,
    cluster: Cluster,
    signal: AbortSignal,
  ): Promise<IssueNodeCertificateResponse> {
    const role = roleOfToken(q.token, cluster);
    const view = this.#store.view();
    const again = nodeOfRequest(view, q.csr, role);
    const subject = { nodeId: again?.id ?? newId(this.#random), role };
    const issued = this.#sign(cluster, q.csr, subject);
    const certificate = recordIssue(again?.certificate, { ...issued, role, csr: q.csr });
    if (again !== undefined) {
      await this.#store.update((tx) => replaceCertificate(tx, again.id, certificate), { signal });
    } else {
      const made = { subject, certificate, vxlanUdpPort: cluster.vxlanUdpPort };
      await this.#createNode(made, q, signal);
      this.#log.info("node joined", { "node.id": subject.nodeId, role });
    }
    return responseOf(subject, issued, cluster);
  }

  /**
   * Issues the next certificate of a member, in the role the store says.
   *
   * @throws ClusterError permission-denied when it was removed or never was one.
   */
  async renew(
    nodeId: string,
    csr: Uint8Array,
    cluster: Cluster,
    signal: AbortSignal,
  ): Promise<IssueNodeCertificateResponse> {
    const node = this.requireMember(this.#store.view(), nodeId);
    const subject = { nodeId, role: node.role };
    const issued = this.#sign(cluster, csr, subject);
    await this.#store.update(
      (tx) => {
        const now = this.requireMember(tx, nodeId);
        if (now.role !== subject.role) {
          throw new ClusterError("aborted", "the role of the node changed meanwhile; try again");
        }
        replaceCertificate(
          tx,
          nodeId,
          recordIssue(now.certificate, { ...issued, ...subject, csr }),
        );
      },
      { signal },
    );
    this.#log.debug("certificate renewed", { "node.id": nodeId, role: subject.role });
    return responseOf(subject, issued, cluster);
  }

  /** The node, if it is a member. @throws ClusterError permission-denied when it was removed, or is not known. */
  requireMember(view: CaView, nodeId: string): Node {
    const fields = { "node.id": nodeId };
    if (view.get("tombstone", nodeTombstoneId(nodeId)) !== undefined) {
      throw new ClusterError(
        "permission-denied",
        `node ${nodeId} has been removed from this swarm`,
        { fields: { ...fields, removed: true } },
      );
    }
    const node = view.get("node", nodeId);
    if (node === undefined) {
      throw new ClusterError("permission-denied", `node ${nodeId} is not part of this swarm`, {
        fields,
      });
    }
    return node;
  }

  /**
   * Checks that a node with an expired certificate holds the member key.
   *
   * @throws ClusterError unauthenticated or permission-denied when it does not.
   */
  checkProof(q: RenewExpiredRequest, cluster: Cluster): void {
    const node = this.requireMember(this.#store.view(), q.nodeId);
    const chain = Buffer.from(q.certificate).toString("latin1");
    verifyCertificate({
      chain,
      roots: trustBundle(cluster.rootCa),
      nowMs: this.#clock.now(),
      expected: { nodeId: q.nodeId, clusterId: cluster.id },
      ignoreExpiry: true,
    });
    const { publicKey } = parseCertificate(chain);
    const { csr, previousCsr } = node.certificate ?? {};
    const isMemberKey = [csr, previousCsr].some(
      (known) =>
        known !== undefined && known.length > 0 && parseRequest(known).publicKey.equals(publicKey),
    );
    const proof = renewalProof({ ...q, clusterId: cluster.id });
    if (!isMemberKey || !verifyWithKey(publicKey, proof, q.signature)) {
      throw new ClusterError(
        "unauthenticated",
        `the request is not signed with the member key of node ${q.nodeId}`,
        { fields: { "node.id": q.nodeId } },
      );
    }
  }

  #sign(cluster: Cluster, csr: Uint8Array, subject: CertificateSubject): IssuedCertificate {
    const serial = this.#random.bytes(16);
    return signRequest({ cluster, csr, subject, nowMs: this.#clock.now(), serial });
  }

  async #createNode(
    o: {
      readonly subject: CertificateSubject;
      readonly certificate: NodeCertificate;
      readonly vxlanUdpPort: number;
    },
    q: IssueNodeCertificateRequest,
    signal: AbortSignal,
  ): Promise<void> {
    const { subject, certificate, vxlanUdpPort } = o;
    const base = Node.create({
      id: subject.nodeId,
      spec: NodeSpec.create({
        annotations: { name: "", labels: {} },
        desiredRole: subject.role,
        availability: q.availability,
      }),
      status: NodeStatus.create({ state: "unknown" }),
      role: subject.role,
      membership: "accepted",
      certificate,
      vxlanUdpPort,
    });
    let number = 0;
    try {
      await this.#store.update(
        (tx) => {
          this.#reserved.delete(number);
          number = this.#freeNumber(tx);
          this.#reserved.add(number);
          tx.create("node", { ...base, number });
        },
        { signal },
      );
    } finally {
      this.#reserved.delete(number);
    }
  }

  #freeNumber(tx: CaView): number {
    return freeNodeNumber({
      nodes: tx.list("node"),
      tombstones: tx.list("tombstone"),
      reserved: this.#reserved,
      nowMs: this.#clock.now(),
    });
  }
}

/** @throws ClusterError invalid-argument, in Docker's words, when it is none of the two. */
function roleOfToken(token: string, cluster: Cluster): NodeRole {
  const tokens = cluster.rootCa?.joinTokens;
  const isManager = sameToken(token, tokens?.manager ?? "");
  const isWorker = sameToken(token, tokens?.worker ?? "");
  if (isManager) return "manager";
  if (isWorker) return "worker";
  throw new ClusterError(
    "invalid-argument",
    "A valid join token is necessary to join this cluster",
  );
}

/** The node that was made for this very key already: its sender asks again because the answer got lost. */
function nodeOfRequest(view: CaView, csr: Uint8Array, role: NodeRole): Node | undefined {
  const { publicKey } = parseRequest(csr);
  for (const node of view.list("node")) {
    const known = node.certificate?.csr;
    if (node.role === role && known !== undefined && isRequestOfKey(known, publicKey)) return node;
  }
  return undefined;
}

function replaceCertificate(tx: CaTx, nodeId: string, certificate: NodeCertificate): void {
  const node = tx.get("node", nodeId);
  if (node !== undefined) tx.update("node", Node.create({ ...node, certificate }));
}

function responseOf(
  subject: CertificateSubject,
  issued: IssuedCertificate,
  cluster: Cluster,
): IssueNodeCertificateResponse {
  return IssueNodeCertificateResponse.create({
    nodeId: subject.nodeId,
    role: subject.role,
    certificateChain: Buffer.from(issued.chain),
    rootBundle: Buffer.from(issued.bundle),
    notAfterMs: issued.notAfterMs,
    clusterId: cluster.id,
  });
}
