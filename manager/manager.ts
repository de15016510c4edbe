/**
 * The manager part of a node: starts store, Raft, RPC services and loops, and joins them.
 *
 * Everything runs on every manager, except the leader's loops, which are started on election and stopped on its loss.
 * The order of the start: state from the checkpoint (`openManagerState`, so that `src/node` can renew an expired
 * certificate from it), RPC server (the front relays to it), Raft host, then what reads from the store.
 */
import type {
  MethodDescriptor,
  Peer,
  RaftMember,
  StoreObject,
  WeightedPeer,
} from "../src/common/api/generated/api.ts";
import { NetworkSettlingService, RaftMembershipService } from "../src/common/api/generated/api.ts";
import { aborting } from "../src/common/clock/aborting.ts";
import type { Clock } from "../src/common/clock/clock.ts";
import { ClusterError, errorText } from "../src/common/errors/cluster-error.ts";
import { maySafelyRetry } from "../src/common/errors/no-leader.ts";
import type { TlsMaterial } from "../src/common/identity/types.ts";
import { networkSettleMsMax } from "../src/common/limits/network.ts";
import type { Log } from "../src/common/log/log.ts";
import type { Random } from "../src/common/random/random.ts";
import { RpcClients } from "../src/common/rpc/clients.ts";
import type { HandedConnection } from "../src/common/rpc/handed-connection.ts";
import { type RpcServer, serve } from "../src/common/rpc/server.ts";
import type { DataKeys } from "../src/common/seal/data-keys.ts";
import { AllocatorLoop } from "./allocator/loop.ts";
import { nodeCaHandlers } from "./ca/server.ts";
import { forgetRemovedNodes } from "./ca/tombstones.ts";
import { attachNetwork, detachNetwork } from "./control/attachments.ts";
import { Control } from "./control/control.ts";
import { Dispatch } from "./dispatch.ts";
import { sumOfAnswers } from "./dispatcher/settling.ts";
import { managerHandlers } from "./handlers.ts";
import { ImageLoop, type ImageRegistry } from "./images/loop.ts";
import { KeysFileLoop, UnlockKeyLoop } from "./keymanager/loop.ts";
import { LeaderClient } from "./leader-client.ts";
import { LeaderLoops } from "./leader-loops.ts";
import { type ManagerState, standingOf } from "./manager-state.ts";
import { type ManagerView, managerView } from "./manager-view.ts";
import { MembershipLoop } from "./membership/loop.ts";
import { joinGroup, leaveGroup } from "./membership/server.ts";
import { orchestratorLoops } from "./orchestrator/loops.ts";
import { PayloadLoop } from "./orchestrator/payloads/loop.ts";
import { Rehearsal } from "./plan/rehearsal.ts";
import { type RaftHost, startRaftHost } from "./raft/host.ts";
import type { MemberStatus } from "./raft/host-messages.ts";
import { takeReceivedState } from "./received-state.ts";
import { SchedulerLoop } from "./scheduler/loop.ts";
import { type Follower, follow } from "./state/follow.ts";
import { payloadTables } from "./state/payload.ts";
import type { Watch } from "./state/watch.ts";
import { type Tunnel, Tunnels } from "./tunnel/tunnels.ts";
import { relayTunnel } from "./tunnel-relay.ts";

/** How the Raft group of this manager comes about. */
export type ManagerStart =
  /** The first manager: the objects are committed by the first leader. */
  | { readonly kind: "bootstrap"; readonly seed: readonly StoreObject[] }
  /** A member that was let in; `members` are those it may be let in by. */
  | { readonly kind: "join"; readonly members: readonly RaftMember[] }
  /** What is on disk; `members` are those to learn from should it not be whole. */
  | {
      readonly kind: "resume";
      readonly forceNewCluster: boolean;
      readonly members?: readonly RaftMember[];
    };

/** What a manager is started with. */
export interface ManagerOptions {
  readonly state: ManagerState;
  /** `<data>/raft`. */
  readonly folder: string;
  readonly member: RaftMember;
  readonly clusterId: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** Unix socket on which the RPC server takes what the front relays. */
  readonly relayPath: string;
  readonly tls: TlsMaterial;
  readonly start: ManagerStart;
  readonly profile: "normal" | "slow-disk";
  /** What images stand for is asked there. */
  readonly registry: ImageRegistry;
  /** The data keys changed: what the node itself keeps under them is to be sealed anew. */
  readonly onKeys: () => Promise<void>;
  /** The group went on without this manager: it was demoted or removed. */
  readonly onRemoved: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Contact to the leader may be lost for this long before agents are sent elsewhere: two election times. */
const leaderlessMs = 4000;
/** Pause before the first objects of a cluster are tried again, milliseconds. */
const seedRetryMs = 200;
/** Pause until a manager that leaves looks for a leader again, milliseconds. */
const leaveRetryMs = 100;

/** A running manager. */
export class Manager {
  readonly #o: ManagerOptions;
  readonly #raft: RaftHost;
  readonly #rpc: RpcServer;
  readonly #leader: LeaderClient;
  readonly #control: Control;
  readonly #peers: RpcClients;
  readonly #tunnels: Tunnels;
  readonly #dispatch: Dispatch;
  readonly #loops: LeaderLoops;
  readonly #keysFile: KeysFileLoop;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];
  /** Rejects when the manager cannot go on: the Raft thread died, an entry of a newer version came, or a loop failed. */
  readonly fatal: Promise<never>;
  #rejectFatal: (error: unknown) => void = () => {};
  #membership: MembershipLoop | undefined;
  #unlockKeys: UnlockKeyLoop | undefined;
  #leaderTerm = 0;
  /** Ends of the watches others have open. */
  readonly #watches = new Set<() => void>();

  /** Starts a manager; resolves when it runs, before it has found a leader. @throws ClusterError */
  static async start(options: ManagerOptions): Promise<Manager> {
    const parts: { manager?: Manager } = {};
    const rpc = await serve({
      listen: { path: options.relayPath },
      tls: options.tls,
      handlers: [],
      standing: (nodeId) => standingOf(options.state, nodeId),
      clock: options.clock,
      log: options.log,
    });
    try {
      const onConnection = (connection: HandedConnection) => rpc.accept(connection);
      const raft = await startRaftHost({ ...hostOptions(options), onConnection });
      const manager = new Manager(options, raft, rpc);
      parts.manager = manager;
      manager.#begin();
      return manager;
    } catch (error) {
      await rpc.close();
      throw error;
    }
  }

  private constructor(options: ManagerOptions, raft: RaftHost, rpc: RpcServer) {
    const { state, clock, random, log } = options;
    const { store } = state;
    this.#o = options;
    this.fatal = new Promise((_, reject) => {
      this.#rejectFatal = reject;
    });
    this.fatal.catch(() => {
      // Its owner may come to look only later; that is no unhandled rejection.
    });
    raft.fatal.catch((error: unknown) => this.#rejectFatal(error));
    this.#raft = raft;
    this.#rpc = rpc;
    this.#leader = new LeaderClient(() => this.#leaderElsewhere(), options.tls);
    this.#loops = new LeaderLoops(log);
    this.#keysFile = new KeysFileLoop(store, state.ring, (keys) => this.#rotateKeys(keys), {
      clock,
      random,
      log,
    });
    this.#control = new Control({
      store,
      group: raft,
      forward: (method, request, signal) => this.#leader.relay(method, request, signal),
      selfId: options.member.nodeId,
      clock,
      random,
    });
    this.#peers = new RpcClients(options.tls, options.clusterId);
    this.#tunnels = new Tunnels(
      {
        self: () => this.#self(),
        askHere: (nodeId, tunnel) => this.#dispatch.sessions.askForTunnel(nodeId, tunnel),
        askOthers: (nodeId, tunnel, signal) =>
          relayTunnel(this.#peers, { managers: this.#others(), nodeId, tunnel, signal }),
      },
      { clock, random, log },
    );
    this.#dispatch = new Dispatch({
      store,
      selfId: options.member.nodeId,
      isLeader: () => raft.leadership().isLeader,
      call: (method, request, signal) => this.#leader.call(method, request, signal),
      managers: () => this.#weightedPeers(),
      settledElsewhere: (index, signal) => this.#settledElsewhere(index, signal),
      upToDate: (signal) => raft.readIndex(signal).then(() => {}),
      clock,
      random,
      log,
    });
  }

  /** The tables now, for the Engine API. */
  view(): ManagerView {
    return managerView(this.#o.state.store.view());
  }

  /** Committed changes from now on, until the signal aborts or the manager stops. */
  watch(signal: AbortSignal): Watch {
    const watch = this.#o.state.store.watch({}, { signal });
    const end = () => watch.close();
    this.#watches.add(end);
    signal.addEventListener("abort", () => this.#watches.delete(end), { once: true });
    return watch;
  }

  /** A byte stream to the Engine API of a node. @throws ClusterError unavailable when the node cannot be reached. */
  openTunnel(nodeId: string, signal: AbortSignal): Promise<Tunnel> {
    return this.#tunnels.open(nodeId, signal);
  }

  /** Resolves when this manager has applied everything that was committed before the call. @throws ClusterError unavailable */
  async readBarrier(signal: AbortSignal): Promise<void> {
    this.#mustMove();
    await this.#raft.readIndex(signal);
  }

  /** Carries out a control method, here or on the leader. */
  async call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
    this.#mustMove();
    return this.#control.call(method, request, signal);
  }

  /** Begins to try changes that are not made, over everything that was committed before the call. */
  async rehearse(signal: AbortSignal): Promise<Rehearsal> {
    await this.readBarrier(signal);
    const group = { selfId: this.#o.member.nodeId, members: this.#raft.members() };
    return new Rehearsal(this.#o.state.store, { ...this.#o, ...group });
  }

  /** Why the managers can have no leader until a person acts; undefined while they can. */
  standstill(): ClusterError | undefined {
    const reason = this.#raft.standstill();
    if (reason === undefined) return undefined;
    return new ClusterError("unavailable", reason, { fields: { standstill: true } });
  }

  members(): readonly MemberStatus[] {
    return this.#raft.members();
  }

  /** Whether a leader is known. */
  hasLeader(): boolean {
    return this.#raft.leadership().leaderNodeId !== undefined;
  }

  /** Resolves once this manager has a leader and its tables are up to date. @throws the signal's reason */
  async ready(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.readBarrier(signal);
        if (this.#o.state.store.view().count("cluster") > 0) return;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        this.#o.log.debug("manager not ready", { err: errorText(error) });
      }
      await this.#o.clock.sleep(100, signal);
    }
  }

  /** Where this very machine reaches the manager, whatever others are told: behind a router only they reach that. */
  localAddress(): string {
    const { host, port } = this.#raft.address;
    if (host === "0.0.0.0") return `127.0.0.1:${port}`;
    if (host === "::") return `[::1]:${port}`;
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  }

  /** Has the other managers reach this one at `HOST:PORT` from now on. @throws ClusterError when Raft has ended. */
  readdress(address: string): Promise<void> {
    return this.#raft.readdress(address);
  }

  /** Shows this certificate from now on. */
  updateTls(tls: TlsMaterial): void {
    this.#rpc.updateTls(tls);
    this.#raft.updateTls(tls);
    this.#leader.updateTls(tls);
    this.#peers.updateTls(tls);
  }

  /** Asks the group to let this manager go, as it leaves the cluster. @throws ClusterError when the quorum would be lost. */
  async leave(signal: AbortSignal): Promise<void> {
    const request = { nodeId: this.#o.member.nodeId };
    if (this.#raft.leadership().isLeader) {
      await aborting(this.#raft.transferLeadership(), signal);
    }
    for (;;) {
      try {
        await this.#leader.call(RaftMembershipService.leave, request, signal);
        return;
      } catch (error) {
        // Leadership may be on its way from one manager to another.
        if (signal.aborted || !maySafelyRetry(error)) throw error;
        await this.#o.clock.sleep(leaveRetryMs, signal);
      }
    }
  }

  /** Stops everything; leadership is handed over first when asked for. */
  async stop(options: { readonly transfer: boolean }): Promise<void> {
    this.#stop.abort(new ClusterError("unavailable", "the manager is stopping"));
    this.#tunnels.close();
    this.#dispatch.sessions.close();
    await this.#loops.stopped();
    await this.#raft.stop(options);
    await this.#rpc.close();
    this.#leader.close();
    this.#peers.close();
    await Promise.allSettled(this.#running);
    for (const end of this.#watches) end();
    await this.#o.state.close();
  }

  /** @throws ClusterError unavailable at once where waiting for a leader is in vain. */
  #mustMove(): void {
    const standstill = this.standstill();
    if (standstill !== undefined) throw standstill;
  }

  #begin(): void {
    const { state, clock, random, log } = this.#o;
    const { store } = state;
    const raft = this.#raft;
    store.connect({
      propose: (entry) => raft.propose(entry),
      isLeader: () => raft.leadership().isLeader,
      stalled: () => raft.stalled(),
      term: () => raft.leadership().term,
    });
    raft.onCommitted(({ entries }) => store.applyCommitted(entries));
    raft.onSnapshotWanted(() => {
      const frozen = store.freeze();
      return Object.assign(store.snapshot(frozen), { index: frozen.index, term: frozen.term });
    });
    raft.onSnapshotReceived(async ({ index, term, chunks }) => {
      await takeReceivedState({
        index,
        replace: () => store.restore(chunks, index, term),
        write: () => state.checkpointer.rewrite(),
        clock,
        log,
        signal: this.#stop.signal,
      });
      this.#dispatch.sessions.clusterChanged();
    });
    state.onDurable = (index) => raft.compacted(index);
    raft.onRemoved(() => this.#removed());
    raft.onLeadership(() => this.#leadershipChanged());
    raft.onMembers(() => {
      this.#membership?.changed();
      this.#dispatch.sessions.clusterChanged();
    });
    this.#rpc.add(
      nodeCaHandlers({
        store,
        leader: {
          isLeader: () => raft.leadership().isLeader,
          call: (method, request, signal) => this.#leader.call(method, request, signal),
        },
        clock,
        random,
        log,
      }),
    );
    this.#rpc.add(
      managerHandlers({
        isLeader: () => raft.leadership().isLeader,
        leader: this.#leader,
        control: this.#control,
        tunnels: this.#tunnels,
        sessions: this.#dispatch.sessions,
        settling: this.#dispatch.settling,
        join: (request) => joinGroup(store, raft, request),
        leave: (request) => leaveGroup(store, raft, request),
        attach: (request, signal) => attachNetwork(store, request, { ...this.#o, signal }),
        detach: (request) => detachNetwork(store, request),
        takeReports: (batch, signal) => this.#dispatch.takeReports(batch, signal),
        takeStatuses: (batch, signal) => this.#dispatch.takeStatuses(batch, signal),
      }),
    );
    const { signal } = this.#stop;
    this.#own("dispatch", this.#dispatch.run(signal));
    this.#own("checkpoint", state.checkpointer.run(signal));
    this.#own("keys-file", this.#keysFile.run(signal, this.ready(signal)));
    this.#own("store-watch", this.#followStore(signal));
    this.#own("leader-watch", this.#watchLeader(signal));
    this.#leadershipChanged();
  }

  #removed(): void {
    this.#o.log.info("removed from the raft group");
    this.#o.onRemoved();
    this.#dispatch.sessions.sendElsewhere();
  }

  /** Takes a part that runs as long as the manager; its failure is the manager's, not the process's. */
  #own(component: string, work: Promise<void>): void {
    const owned = work.catch((error: unknown) => {
      this.#o.log.error("part of the manager failed", { component, err: errorText(error) });
      this.#rejectFatal(error);
    });
    this.#running.push(owned);
  }

  /** Tells sessions and loops of what was committed. */
  async #followStore(signal: AbortSignal): Promise<void> {
    for await (const item of this.#o.state.store.watch({}, { signal })) {
      this.#dispatch.committed(item);
      if (item.resync) {
        this.#keysChanged();
        this.#membership?.changed();
        continue;
      }
      for (const change of item.changes) {
        if (change.table === "node") {
          if (change.kind === "remove") this.#rpc.disconnect(change.object.id);
          this.#membership?.changed();
        } else if (change.table === "cluster") {
          this.#keysChanged();
        }
      }
    }
  }

  #keysChanged(): void {
    this.#keysFile.changed();
    this.#unlockKeys?.changed();
  }

  /** Takes new data keys into use everywhere. */
  async #rotateKeys(keys: DataKeys): Promise<void> {
    await this.#o.state.rotateKeys(keys);
    await this.#raft.rotateKeys(keys);
    await this.#o.onKeys();
  }

  /** Sends the agents to other managers while this one has no leader. */
  async #watchLeader(signal: AbortSignal): Promise<void> {
    const { clock } = this.#o;
    let lastSeen = clock.monotonic();
    while (!signal.aborted) {
      await clock.sleep(leaderlessMs / 4, signal).catch(() => {
        // Stopped: the loop's condition ends it.
      });
      if (this.hasLeader()) lastSeen = clock.monotonic();
      else if (clock.monotonic() - lastSeen > leaderlessMs) {
        this.#dispatch.sessions.sendElsewhere();
        lastSeen = clock.monotonic();
      }
    }
  }

  #leadershipChanged(): void {
    this.#leader.leaderMayHaveChanged();
    const { term, isLeader } = this.#raft.leadership();
    if (!isLeader) {
      this.#leaderTerm = 0;
      this.#dispatch.follow();
      this.#membership = undefined;
      this.#unlockKeys = undefined;
      this.#loops.stop();
      return;
    }
    if (this.#leaderTerm === term) return;
    this.#leaderTerm = term;
    const { clock, random, log, state } = this.#o;
    const unlockKeys = new UnlockKeyLoop(state.store, term, { clock, random, log });
    this.#unlockKeys = unlockKeys;
    const membership = new MembershipLoop(state.store, this.#raft, term, { clock, log });
    this.#membership = membership;
    const leadership = { store: state.store, term };
    const tools = { clock, random, log };
    const following = (follower: Follower) => (signal: AbortSignal) =>
      follow(state.store, follower, { clock, log, signal, without: payloadTables });
    const loops = orchestratorLoops(leadership, tools);
    log.info("leading", { "raft.term": term });
    this.#loops.start(term, {
      seed: (signal) => this.#seed(term, signal),
      ...this.#dispatch.lead(term),
      membership: (signal) => membership.run(signal),
      "unlock-keys": (signal) => unlockKeys.run(signal),
      images: (signal) =>
        new ImageLoop({ store: state.store, term }, this.#o.registry, { clock, log }).run(signal),
      scheduler: (signal) => new SchedulerLoop(state.store, term, { clock, log }).run(signal),
      tombstones: (signal) => forgetRemovedNodes(state.store, term, { clock, log, signal }),
      ...Object.fromEntries(loops.map((loop) => [loop.component, following(loop)])),
      payloads: (signal) =>
        follow(state.store, new PayloadLoop(leadership, tools), { clock, log, signal }),
      allocator: following(new AllocatorLoop(leadership, tools)),
    });
  }

  /** Commits the first objects of a new cluster. */
  async #seed(term: number, signal: AbortSignal): Promise<void> {
    const { start, state, clock, log } = this.#o;
    if (start.kind !== "bootstrap") return;
    while (state.store.view().count("cluster") === 0 && !signal.aborted) {
      try {
        await this.#commitSeed(start.seed, { term, signal });
        // A manager whose certificate runs out takes the CA key from its checkpoint: it has to be there from now on.
        await state.checkpointer.flush();
      } catch (error) {
        log.warn("first objects not committed yet", { err: errorText(error) });
        await clock.sleep(seedRetryMs, signal);
      }
    }
  }

  async #commitSeed(
    seed: readonly StoreObject[],
    leadership: { readonly term: number; readonly signal: AbortSignal },
  ): Promise<void> {
    await this.#o.state.store.update((tx) => {
      if (tx.count("cluster") > 0) return;
      for (const { cluster, node, network } of seed) {
        if (cluster !== undefined) tx.create("cluster", cluster);
        if (node !== undefined) tx.create("node", node);
        if (network !== undefined) tx.create("network", network);
      }
    }, leadership);
  }

  #leaderElsewhere(): { nodeId: string; address: string } | undefined {
    const { leaderNodeId, isLeader } = this.#raft.leadership();
    if (leaderNodeId === undefined || isLeader) return undefined;
    const member = this.#raft.members().find((m) => m.nodeId === leaderNodeId);
    if (member === undefined || leaderNodeId === this.#o.member.nodeId) return undefined;
    return { nodeId: leaderNodeId, address: member.address };
  }

  #self(): Peer {
    const { nodeId, address, raftId } = this.#o.member;
    return this.#raft.members().find((m) => m.nodeId === nodeId) ?? { nodeId, address, raftId };
  }

  #settledElsewhere(stateIndex: number, signal: AbortSignal): Promise<number> {
    const options = { timeoutMs: networkSettleMsMax, signal };
    const answers = this.#others().map((manager) =>
      this.#peers
        .to(manager)
        .call(NetworkSettlingService.settle, { here: true, stateIndex }, options)
        .then(({ nodes }) => nodes),
    );
    return sumOfAnswers(answers, { log: this.#o.log, signal });
  }

  #others(): readonly MemberStatus[] {
    return this.#raft.members().filter((m) => m.nodeId !== this.#o.member.nodeId);
  }

  #weightedPeers(): WeightedPeer[] {
    return this.#raft
      .members()
      .filter((m) => !m.learner)
      .map(({ nodeId, address, raftId }) => ({ peer: { nodeId, address, raftId }, weight: 1 }));
  }
}

function hostOptions(options: ManagerOptions): Parameters<typeof startRaftHost>[0] {
  const { start } = options;
  return {
    dataDir: options.folder,
    member: options.member,
    clusterId: options.clusterId,
    listen: options.listen,
    relayPath: options.relayPath,
    tls: options.tls,
    keys: options.state.ring.dataKeys(),
    profile: options.profile,
    appliedIndex: options.state.store.appliedIndex(),
    appliedTerm: options.state.store.appliedTerm(),
    log: options.log,
    ...(start.kind === "bootstrap" ? { bootstrap: true } : {}),
    ...(start.kind === "join" ? { admitted: true } : {}),
    ...(start.kind === "bootstrap" ? {} : { joinMembers: start.members ?? [] }),
    ...(start.kind === "resume" && start.forceNewCluster ? { forceNewCluster: true } : {}),
  };
}
