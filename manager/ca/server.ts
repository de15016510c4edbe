/**
 * The NodeCa service: gives nodes their certificates. Runs on every manager; what needs the leader is passed on to it.
 *
 * Three ways lead to a certificate: a join token (a new node), a valid client certificate (renewal, with the role the store
 * says), or, for a certificate that ran out, a signature by the member key over a challenge. Removed nodes get none.
 */
import {
  type Cluster,
  GetRootCertificateResponse,
  GetUnlockKeyResponse,
  type IssueNodeCertificateRequest,
  type IssueNodeCertificateResponse,
  type MethodDescriptor,
  NodeCaService,
  type RenewChallengeRequest,
  RenewChallengeResponse,
  type RenewExpiredRequest,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import {
  expiredRenewalsAtLeader,
  expiredRenewalsPerAddress,
  rateAddressesMax,
} from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { type CallContext, type Registration, unary } from "../../src/common/rpc/handler.ts";
import { Challenges } from "./challenge.ts";
import { IssueDesk } from "./issue.ts";
import { type CaStore, clusterOf, type LeaderLink } from "./ports.ts";
import { RateLimit } from "./rate-limit.ts";

/** What the service needs. */
export interface NodeCaOptions {
  readonly store: CaStore;
  readonly leader: LeaderLink;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The handlers of NodeCa, for `serve`. */
export function nodeCaHandlers(options: NodeCaOptions): readonly Registration[] {
  const ca = new NodeCa(options);
  return [
    unary(NodeCaService.getRootCertificate, async () => ca.rootCertificate()),
    unary(NodeCaService.issueNodeCertificate, (q, call) => ca.issue(q, call)),
    unary(NodeCaService.renewChallenge, (q, call) => ca.challenge(q, call)),
    unary(NodeCaService.renewExpired, (q, call) => ca.renewExpired(q, call)),
    unary(NodeCaService.getUnlockKey, (q, call) =>
      ca.here(call)
        ? Promise.resolve(ca.unlockKey())
        : ca.pass(NodeCaService.getUnlockKey, q, call),
    ),
  ];
}

class NodeCa {
  readonly #o: NodeCaOptions;
  readonly #desk: IssueDesk;
  readonly #challenges: Challenges;
  readonly #byAddress: RateLimit;
  readonly #atLeader: RateLimit;

  constructor(options: NodeCaOptions) {
    this.#o = options;
    this.#desk = new IssueDesk(options);
    this.#challenges = new Challenges(options);
    this.#byAddress = new RateLimit({
      clock: options.clock,
      rate: expiredRenewalsPerAddress,
      keysMax: rateAddressesMax,
    });
    this.#atLeader = new RateLimit({
      clock: options.clock,
      rate: expiredRenewalsAtLeader,
      keysMax: 1,
    });
  }

  rootCertificate(): GetRootCertificateResponse {
    return GetRootCertificateResponse.create({
      certificate: this.#cluster().rootCa?.caCert ?? Buffer.alloc(0),
    });
  }

  unlockKey(): GetUnlockKeyResponse {
    const key = this.#cluster().unlockKeys.find((k) => k.subsystem === "manager");
    return GetUnlockKeyResponse.create(
      key === undefined ? {} : { unlockKey: key.key, version: key.version },
    );
  }

  async issue(
    q: IssueNodeCertificateRequest,
    call: CallContext,
  ): Promise<IssueNodeCertificateResponse> {
    // Only a manager that passes a call on may speak for another node.
    const forNode = call.forwarded
      ? q.onBehalfOfNodeId
      : q.token === ""
        ? (call.peer?.nodeId ?? "")
        : "";
    if (!this.here(call)) {
      const onBehalf = { onBehalfOfNodeId: forNode, onBehalfOfRole: call.peer?.role ?? "worker" };
      return this.pass(NodeCaService.issueNodeCertificate, { ...q, ...onBehalf }, call);
    }
    if (q.token !== "") return this.#desk.joinByToken(q, this.#cluster(), call.signal);
    if (forNode === "") {
      throw new ClusterError(
        "unauthenticated",
        "a join token or a valid certificate of this swarm is necessary to get a certificate",
      );
    }
    return this.#desk.renew(forNode, q.csr, this.#cluster(), call.signal);
  }

  async challenge(q: RenewChallengeRequest, call: CallContext): Promise<RenewChallengeResponse> {
    this.#limit(call);
    if (!this.here(call)) return this.pass(NodeCaService.renewChallenge, q, call);
    this.#desk.requireMember(this.#o.store.view(), q.nodeId);
    return RenewChallengeResponse.create({ nonce: this.#challenges.give(q.nodeId) });
  }

  async renewExpired(
    q: RenewExpiredRequest,
    call: CallContext,
  ): Promise<IssueNodeCertificateResponse> {
    this.#limit(call);
    if (!this.here(call)) return this.pass(NodeCaService.renewExpired, q, call);
    if (!this.#challenges.use(q.nonce, q.nodeId)) {
      throw new ClusterError("aborted", "the challenge is unknown or used up; ask for a new one", {
        fields: { "node.id": q.nodeId },
      });
    }
    const cluster = this.#cluster();
    this.#desk.checkProof(q, cluster);
    this.#o.log.info("renewing an expired certificate", { "node.id": q.nodeId });
    return this.#desk.renew(q.nodeId, q.csr, cluster, call.signal);
  }

  /** Whether this manager answers itself. @throws ClusterError unavailable when another manager wrongly took it for the leader. */
  here(call: CallContext): boolean {
    if (this.#o.leader.isLeader()) return true;
    if (call.forwarded) {
      throw new ClusterError("unavailable", "this manager is not the leader (any more)");
    }
    return false;
  }

  pass<Q, R>(method: MethodDescriptor<Q, R>, request: Q, call: CallContext): Promise<R> {
    return this.#o.leader.call(method, request, call.signal);
  }

  #limit(call: CallContext): void {
    const isHere = this.#o.leader.isLeader();
    const allowed =
      (call.forwarded || this.#byAddress.take(call.address)) &&
      (!isHere || this.#atLeader.take(""));
    if (!allowed) {
      throw new ClusterError("resource-exhausted", "too many renewals at once; try again later");
    }
  }

  #cluster(): Cluster {
    const cluster = clusterOf(this.#o.store.view());
    if (cluster === undefined) {
      throw new ClusterError("unavailable", "this manager has not received the swarm's state yet");
    }
    return cluster;
  }
}
