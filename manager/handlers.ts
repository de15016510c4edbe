/**
 * The RPC methods a manager serves to other nodes: each is one line from the wire to the component that answers.
 *
 * A call that only the leader can answer is passed on once; a call that was passed on already is answered here or
 * refused, so that two managers with different beliefs never pass it back and forth.
 */
import {
  type AttachNetworkReply,
  type AttachNetworkRequest,
  ControlRelayService,
  type DetachNetworkRequest,
  DispatcherService,
  Done,
  LivenessRelayService,
  type MethodDescriptor,
  NetworkAttachmentsService,
  NetworkSettlingService,
  type NodeReportBatch,
  NodeReportBatchReply,
  type RaftJoinRequest,
  type RaftJoinResponse,
  type RaftLeaveRequest,
  type RaftLeaveResponse,
  RaftMembershipService,
  type SessionMessage,
  SettleReply,
  StatusRelayService,
  type TaskStatusBatch,
  TaskStatusBatchReply,
  TunnelRelayReply,
  TunnelRelayService,
  TunnelService,
} from "../src/common/api/generated/api.ts";
import { ClusterError } from "../src/common/errors/cluster-error.ts";
import { noLeader } from "../src/common/errors/no-leader.ts";
import { sessionMessagesWaitingMax } from "../src/common/limits/agent.ts";
import {
  bidiStream,
  type CallContext,
  directStream,
  type MessageStream,
  type Registration,
  unary,
} from "../src/common/rpc/handler.ts";
import type { Control } from "./control/control.ts";
import type { Sessions } from "./dispatcher/sessions.ts";
import type { Settling } from "./dispatcher/settling.ts";
import type { LeaderClient } from "./leader-client.ts";
import { serveRelay } from "./relay-server.ts";
import type { Tunnels } from "./tunnel/tunnels.ts";

/** What the handlers hand their calls to. */
export interface HandlerParts {
  isLeader(): boolean;
  readonly leader: LeaderClient;
  readonly control: Control;
  readonly sessions: Sessions;
  readonly settling: Settling;
  readonly tunnels: Tunnels;
  /** On the leader only. */
  join(request: RaftJoinRequest): Promise<RaftJoinResponse>;
  /** On the leader only. */
  leave(request: RaftLeaveRequest): Promise<RaftLeaveResponse>;
  /** On the leader only. */
  attach(request: AttachNetworkRequest, signal: AbortSignal): Promise<AttachNetworkReply>;
  /** On the leader only. */
  detach(request: DetachNetworkRequest): Promise<void>;
  /** On the leader only. */
  takeReports(batch: NodeReportBatch, signal: AbortSignal): Promise<void>;
  /** On the leader only. */
  takeStatuses(batch: TaskStatusBatch, signal: AbortSignal): Promise<void>;
}

/** Every registration but those of the CA, which has its own. */
export function managerHandlers(parts: HandlerParts): Registration[] {
  return [
    bidiStream(ControlRelayService.relay, (messages, call) =>
      serveRelay(messages, call, async (method, request, signal) => {
        if (!parts.isLeader()) throw noLeader();
        return parts.control.handle(method, request, signal);
      }),
    ),
    directStream(DispatcherService.session, (messages, call) =>
      serveSession(parts, messages, call),
    ),
    unary(NetworkSettlingService.settle, async ({ here, stateIndex }, { signal }) => {
      if (here) return SettleReply.create({ nodes: await parts.settling.here(stateIndex, signal) });
      await parts.settling.everywhere(signal);
      return SettleReply.create();
    }),
    unary(LivenessRelayService.report, async (batch, call) => {
      if (!parts.isLeader()) throw noLeader();
      await parts.takeReports(batch, call.signal);
      return NodeReportBatchReply.create();
    }),
    bidiStream(TunnelService.open, (messages, call) => parts.tunnels.serve(messages, call)),
    unary(TunnelRelayService.ask, async ({ nodeId, tunnel }) => {
      const asked = tunnel !== undefined && parts.sessions.askForTunnel(nodeId, tunnel);
      return TunnelRelayReply.create({ asked });
    }),
    unary(StatusRelayService.report, async (batch, call) => {
      if (!parts.isLeader()) throw noLeader();
      await parts.takeStatuses(batch, call.signal);
      return TaskStatusBatchReply.create();
    }),
    unary(RaftMembershipService.join, (request, call) => {
      const caller = call.peer?.nodeId ?? "";
      if (!call.forwarded && request.member?.nodeId !== caller) throw notYourself(caller);
      return onLeader(parts, RaftMembershipService.join, request, call, (r) => parts.join(r));
    }),
    unary(RaftMembershipService.leave, (request, call) => {
      const caller = call.peer?.nodeId ?? "";
      if (!call.forwarded && request.nodeId !== caller) throw notYourself(caller);
      return onLeader(parts, RaftMembershipService.leave, request, call, (r) => parts.leave(r));
    }),
    unary(NetworkAttachmentsService.attach, (request, call) => {
      checkOwn(request, call);
      return onLeader(parts, NetworkAttachmentsService.attach, request, call, (r) =>
        parts.attach(r, call.signal),
      );
    }),
    unary(NetworkAttachmentsService.detach, (request, call) => {
      checkOwn(request, call);
      return onLeader(parts, NetworkAttachmentsService.detach, request, call, async (r) => {
        await parts.detach(r);
        return Done.create();
      });
    }),
  ];
}

async function onLeader<Q, R>(
  parts: HandlerParts,
  method: MethodDescriptor<Q, R>,
  request: Q,
  call: CallContext,
  handle: (request: Q) => Promise<R>,
): Promise<R> {
  if (parts.isLeader()) return handle(request);
  if (call.forwarded) throw noLeader();
  return parts.leader.call(method, request, call.signal);
}

/** Joins the agent's stream to the sessions of this manager. */
function serveSession(
  parts: HandlerParts,
  messages: MessageStream<
    Parameters<typeof DispatcherService.session.request.encode>[0],
    SessionMessage
  >,
  call: CallContext,
): Promise<void> {
  let waiting = 0;
  return parts.sessions.serve({
    nodeId: call.peer?.nodeId ?? "",
    address: call.address,
    messages,
    signal: call.signal,
    send: async (message) => {
      if (++waiting > sessionMessagesWaitingMax) {
        throw new ClusterError("resource-exhausted", "the agent reads too slowly");
      }
      await messages.write(message);
      waiting -= 1;
    },
  });
}

/** @throws ClusterError permission-denied when a node asks in the name of another one. */
function checkOwn({ nodeId }: { readonly nodeId: string }, call: CallContext): void {
  const caller = call.peer?.nodeId ?? "";
  if (call.forwarded || nodeId === caller) return;
  throw new ClusterError("permission-denied", `node ${caller} may attach its own containers only`);
}

function notYourself(nodeId: string): ClusterError {
  return new ClusterError("permission-denied", `node ${nodeId} may change its own membership only`);
}
