/**
 * Messages between members: a stream of our own to every peer, and the streams of peers that dialled us. Snapshots and the
 * rarer calls go over gRPC.
 *
 * In the Raft worker. `front.ts` hands over the connections of peers; who they are is decided by their certificate
 * (node id, manager, cluster) together with the hello that opens each stream. Removed members are refused with
 * `not-found`, which tells them so. Addresses are learned from whoever dials in.
 */
import type { Socket } from "node:net";
import type { PeerCertificate, TLSSocket, Server as TlsServer } from "node:tls";
import {
  type ConnectionInjector,
  Server,
  type ServerReadableStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import {
  type MethodDescriptor,
  RaftFrame,
  RaftFrameReply,
  type RaftHello,
  type RaftMember,
  type RaftRefusal,
  type RaftRejoinRequest,
  RaftRejoinResponse,
  type RaftSnapshotChunk,
  type RaftSnapshotReply,
  RaftTransportService,
} from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import type { TlsMaterial } from "../../src/common/identity/types.ts";
import { peerWindowBytes } from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import type { Random } from "../../src/common/random/random.ts";
import { statusFromError } from "../../src/common/rpc/status.ts";
import type { Message } from "./core/types.ts";
import { FrameWriter } from "./frame-writer.ts";
import { asBuffer, Peer } from "./peer.ts";
import { framed, PeerStream } from "./peer-stream.ts";
import {
  acceptCredentials,
  callerNodeId,
  peerChannelOptions,
  streamServer,
  updateStreamServer,
} from "./peer-tls.ts";
import { widenReceiveWindow } from "./receive-window.ts";
import { coreMessage } from "./wire.ts";

/** What the transport asks and tells; implemented by `worker-session.ts`. */
export interface TransportHandler {
  /** This member as others shall reach it. */
  self(): RaftMember;
  /** Fields of a hello that depend on the receiver. */
  helloFacts(raftId: number): Pick<RaftHello, "leaderTerm" | "match" | "others">;
  isRemoved(raftId: number): boolean;
  /** A peer opened a stream; `addresses` are where it may be reached, best first. */
  onHello(hello: RaftHello, addresses: readonly string[]): void;
  /** A peer that was dialled, or has dialled, said where it would reach others. */
  onOthers(others: readonly RaftMember[]): void;
  onMessages(messages: readonly Message[]): void;
  onUnreachable(raftId: number): void;
  onConnected(raftId: number, address: string): void;
  /** A peer says that this member was removed. */
  onRemoved(): void;
  /** Takes a snapshot; resolves once it is installed. */
  onSnapshot(message: Message, chunks: AsyncIterable<Uint8Array>): Promise<void>;
  onRejoin(request: RaftRejoinRequest): Promise<void>;
}

/** What a transport is made of. */
export interface TransportOptions {
  readonly clusterId: string;
  readonly tls: TlsMaterial;
  readonly handler: TransportHandler;
  readonly random: Random;
  readonly log: Log;
}

/** All connections to and from peers. */
export class Transport {
  readonly #options: TransportOptions;
  readonly #server: Server;
  readonly #streamServer: TlsServer;
  /** Streams of peers that dialled. */
  readonly #streams = new Set<PeerStream>();
  readonly #peers = new Map<number, Peer>();
  readonly #frames = new FrameWriter();
  #tls: TlsMaterial;
  #injectors: ConnectionInjector[] = [];

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.#server = new Server(peerChannelOptions);
    addHandlers(this.#server, options);
    this.#streamServer = streamServer(options.tls, (socket) => {
      serveStream(socket, options, this.#streams);
    });
    this.#acceptWith(options.tls);
  }

  get tls(): TlsMaterial {
    return this.#tls;
  }

  /** Serves a connection that asked for the server name of calls. */
  accept(socket: Socket): void {
    this.#injectors.at(-1)?.injectConnection(socket);
  }

  /** Serves a connection that asked for the server name of streams. */
  acceptStream(socket: Socket): void {
    this.#streamServer.emit("connection", socket);
  }

  /** Dials those that are new, drops those that are gone. */
  setPeers(members: Iterable<RaftMember>): void {
    const wanted = new Map<number, RaftMember>();
    for (const member of members) wanted.set(member.raftId, member);
    for (const [raftId, peer] of this.#peers) {
      if (wanted.get(raftId)?.nodeId === peer.nodeId) continue;
      peer.close();
      this.#peers.delete(raftId);
    }
    for (const [raftId, member] of wanted) {
      if (!this.#peers.has(raftId)) this.#peers.set(raftId, this.#newPeer(member));
    }
  }

  /** Says where a peer may be reached, best first. */
  learn(raftId: number, addresses: readonly string[]): void {
    this.#peers.get(raftId)?.learn(addresses);
  }

  /** Says where others reach a peer, for as long as it is not reached from here. */
  hint(member: RaftMember): void {
    const peer = this.#peers.get(member.raftId);
    if (peer?.nodeId === member.nodeId) peer.hint(member.address);
  }

  /** Dials all peers anew, so that they hear of this member's new address. */
  redial(): void {
    for (const peer of this.#peers.values()) peer.redial();
  }

  send(message: Message): void {
    this.#peers.get(message.to)?.send(message);
  }

  /** Sends what was queued since the last call. */
  flush(): void {
    for (const peer of this.#peers.values()) peer.flush();
    this.#frames.forget();
  }

  isConnected(raftId: number): boolean {
    return this.#peers.get(raftId)?.connected ?? false;
  }

  addressOf(raftId: number): string | undefined {
    return this.#peers.get(raftId)?.address;
  }

  /** Uses new certificates for connections from now on; those that stand stay. */
  updateTls(tls: TlsMaterial): void {
    this.#tls = tls;
    updateStreamServer(this.#streamServer, tls);
    this.#acceptWith(tls);
    // Older injectors still own the connections made through them; a few generations are plenty.
    for (const old of this.#injectors.splice(0, this.#injectors.length - 3)) old.destroy();
  }

  close(): void {
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
    this.#server.forceShutdown();
  }

  #acceptWith(tls: TlsMaterial): void {
    this.#injectors.push(this.#server.createConnectionInjector(acceptCredentials(tls)));
    widenReceiveWindow(this.#server, peerWindowBytes);
  }

  #newPeer(member: RaftMember): Peer {
    const { handler, clusterId, random, log } = this.#options;
    return new Peer(member, {
      clusterId,
      tls: () => this.#tls,
      hello: (raftId) => helloTo(this.#options, raftId),
      onUnreachable: (raftId) => handler.onUnreachable(raftId),
      onConnected: (raftId, address) => handler.onConnected(raftId, address),
      onOthers: (others) => handler.onOthers(others),
      onRemoved: () => handler.onRemoved(),
      frames: this.#frames,
      random,
      log,
    });
  }
}

/** The hello to a peer, for streams and snapshots alike. */
export function helloTo(
  options: { readonly clusterId: string; readonly handler: TransportHandler },
  raftId: number,
): RaftHello {
  return {
    clusterId: options.clusterId,
    from: options.handler.self(),
    toRaftId: raftId,
    featureLevel: 1,
    ...options.handler.helloFacts(raftId),
  };
}

function addHandlers(server: Server, options: TransportOptions): void {
  const { snapshot, rejoin } = RaftTransportService;
  const definition = {
    snapshot: grpcMethod(snapshot),
    rejoin: grpcMethod(rejoin),
  };
  server.addService(definition, {
    snapshot: (
      call: ServerReadableStream<RaftSnapshotChunk, RaftSnapshotReply>,
      reply: sendUnaryData<RaftSnapshotReply>,
    ) => {
      serveSnapshot(call, options).then(
        (value) => reply(null, value),
        (error) => reply(statusFromError(error)),
      );
    },
    rejoin: (
      call: ServerUnaryCall<RaftRejoinRequest, RaftRejoinResponse>,
      reply: sendUnaryData<RaftRejoinResponse>,
    ) => {
      serveRejoin(call, options).then(
        () => reply(null, RaftRejoinResponse.create({})),
        (error) => reply(statusFromError(error)),
      );
    },
  });
}

function grpcMethod<Q, R>(method: MethodDescriptor<Q, R>) {
  return {
    path: method.path,
    requestStream: method.requestStream,
    responseStream: method.responseStream,
    requestDeserialize: (bytes: Buffer) => method.request.decode(bytes),
    requestSerialize: (value: Q) => asBuffer(method.request.encode(value)),
    responseDeserialize: (bytes: Buffer) => method.response.decode(bytes),
    responseSerialize: (value: R) => asBuffer(method.response.encode(value)),
  };
}

/** Takes the messages of a peer that dialled, until either side ends it. */
function serveStream(socket: TLSSocket, options: TransportOptions, streams: Set<PeerStream>): void {
  const { handler, log } = options;
  const caller: Caller = {
    certificate: socket.getPeerCertificate(),
    address: `${socket.remoteAddress}:${socket.remotePort}`,
  };
  let raftId = 0;
  const greet = (hello: RaftHello | undefined) => {
    const checked = checkHello(hello, caller, options);
    raftId = checked.from?.raftId ?? 0;
    handler.onHello(checked, addressesOf(checked, caller.address));
    handler.onOthers(checked.others);
    stream.write(reply({ hello: helloTo(options, raftId) }));
  };
  const stream = new PeerStream(socket, "accepting", {
    onFrame: (bytes) => {
      const frame = RaftFrame.decode(bytes);
      try {
        if (raftId === 0) greet(frame.hello);
        else checkNotRemoved(raftId, options);
      } catch (error) {
        log.info("raft peer refused", { peer: caller.address, err: error });
        stream.end(reply({ refusal: refusalOf(error) }));
        streams.delete(stream);
        return;
      }
      // Nobody speaks for another member, a removed one perhaps.
      const own = frame.messages.filter((message) => message.from === raftId);
      if (own.length > 0) handler.onMessages(own.map(coreMessage));
    },
    onDrain: () => {},
    // Its owner dials again.
    onEnd: () => streams.delete(stream),
  });
  streams.add(stream);
}

function reply(content: Partial<RaftFrameReply>): Buffer {
  return framed(RaftFrameReply.encode(RaftFrameReply.create(content)));
}

function refusalOf(error: unknown): RaftRefusal {
  const code = error instanceof ClusterError ? error.code : "internal";
  return { code, text: errorText(error) };
}

async function serveSnapshot(
  call: ServerReadableStream<RaftSnapshotChunk, RaftSnapshotReply>,
  options: TransportOptions,
): Promise<RaftSnapshotReply> {
  const chunks = call[Symbol.asyncIterator]() as AsyncIterator<RaftSnapshotChunk>;
  const first = await chunks.next();
  if (first.done || first.value.message === undefined) {
    throw new ClusterError("invalid-argument", "a snapshot begins with its message");
  }
  checkHello(first.value.hello, callerOf(call), options);
  try {
    const message = coreMessage(first.value.message);
    await options.handler.onSnapshot(message, snapshotData(chunks));
    return { accepted: true, reason: "" };
  } catch (error) {
    options.log.warn("snapshot not taken", { peer: call.getPeer(), err: error });
    return { accepted: false, reason: errorText(error) };
  }
}

/** The data of the chunks; fails when the sender stops before the last one. */
async function* snapshotData(chunks: AsyncIterator<RaftSnapshotChunk>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const next = await chunks.next();
    if (next.done) throw new ClusterError("aborted", "the snapshot broke off");
    if (next.value.data.length > 0) yield next.value.data;
    if (next.value.last) return;
  }
}

async function serveRejoin(
  call: ServerUnaryCall<RaftRejoinRequest, RaftRejoinResponse>,
  options: TransportOptions,
): Promise<void> {
  const { clusterId, handler } = options;
  const nodeId = callerNodeId(call.getAuthContext().sslPeerCertificate, { clusterId });
  if (call.request.member?.nodeId !== nodeId) {
    throw new ClusterError("permission-denied", "a member can only come back as itself");
  }
  await handler.onRejoin(call.request);
}

/** Who is at the other end. */
interface Caller {
  readonly certificate: PeerCertificate | undefined;
  /** IP address and port. */
  readonly address: string;
}

function callerOf(
  call: Pick<ServerReadableStream<unknown, unknown>, "getAuthContext" | "getPeer">,
): Caller {
  return { certificate: call.getAuthContext().sslPeerCertificate, address: call.getPeer() };
}

/** Checks who opened a stream and whether it means this member. */
function checkHello(
  hello: RaftHello | undefined,
  caller: Caller,
  options: TransportOptions,
): RaftHello {
  const { clusterId, handler } = options;
  const nodeId = callerNodeId(caller.certificate, { clusterId });
  if (hello?.from === undefined || hello.clusterId !== clusterId) {
    throw new ClusterError("permission-denied", "the stream is not of this cluster");
  }
  if (hello.from.nodeId !== nodeId) {
    throw new ClusterError("permission-denied", "certificate and hello name different nodes");
  }
  checkNotRemoved(hello.from.raftId, options);
  const self = handler.self();
  if (hello.toRaftId !== self.raftId) {
    throw new ClusterError(
      "failed-precondition",
      `this is member ${self.raftId}, not ${hello.toRaftId}`,
    );
  }
  return hello;
}

function checkNotRemoved(raftId: number, options: TransportOptions): void {
  if (!options.handler.isRemoved(raftId)) return;
  throw new ClusterError("not-found", `member ${raftId} was removed from the group`);
}

/** Where the peer says it listens, and the same port at the address it called from. */
function addressesOf(hello: RaftHello, caller: string): string[] {
  const said = hello.from?.address ?? "";
  const port = /:(\d+)$/.exec(said)?.[1];
  const host = /^(?:ipv[46]:)?(.*):\d+$/.exec(decodeURIComponent(caller))?.[1];
  if (port === undefined || host === undefined || host === "") return [said];
  const plain = host.replace(/^\[|\]$/g, "").replace(/^::ffff:(?=\d+\.)/, "");
  return [said, plain.includes(":") ? `[${plain}]:${port}` : `${plain}:${port}`];
}
