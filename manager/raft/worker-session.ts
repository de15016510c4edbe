/**
 * One manager's Raft member in the worker thread: storage, front, transport and node put together, from start to stop.
 *
 * Between `host.ts` (main thread) on one side and peers on the other. The node may be replaced during the session's
 * life: when it turns out that its log lost entries, it ends and comes back under a new id.
 */
import { statfs } from "node:fs/promises";
import type {
  RaftHello,
  RaftMember,
  RaftRejoinRequest,
} from "../../src/common/api/generated/api.ts";
import { RaftSnapshotMeta } from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { newRaftId } from "../../src/common/ids/ids.ts";
import { diskLookMs, diskReserveBytes, raftFloorPeriodMs } from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import { systemRandom } from "../../src/common/random/random.ts";
import type { CommittedEntries } from "./apply-queue.ts";
import { Comeback } from "./comeback.ts";
import { none } from "./core/types.ts";
import { type Front, openFront } from "./front.ts";
import { errorData, type HostCall, type ToWorker, type WorkerStart } from "./host-messages.ts";
import { MainThreadWatch } from "./main-thread-watch.ts";
import { MemberReport } from "./member-report.ts";
import { type Membership, metaFromMembership } from "./membership.ts";
import { Outbox, type PostToMain } from "./outbox.ts";
import { RaftNode, type RaftNodeEvents } from "./raft-node.ts";
import { askToReplace } from "./rejoin.ts";
import { Snapshotter } from "./snapshotter.ts";
import { RaftStorage } from "./storage.ts";
import { prepareStorage } from "./storage-prepare.ts";
import { timingOf } from "./timing.ts";
import { helloTo, Transport, type TransportHandler } from "./transport.ts";

/** Managers outside the list that are answered at a time: as many as a group may have, twice. */
const strangersMax = 16;

/** A running session. */
export class WorkerSession {
  readonly #start: WorkerStart;
  readonly #outbox: Outbox;
  readonly #post: PostToMain;
  readonly #log: Log;
  readonly #storage: RaftStorage;
  readonly #transport: Transport;
  readonly #snapshotter: Snapshotter;
  readonly #watch: MainThreadWatch;
  readonly #report: MemberReport;
  readonly #comeback: Comeback;
  readonly #timers: NodeJS.Timeout[] = [];
  /** Resolves once the session has ended and holds nothing any more. */
  readonly closed: Promise<void>;
  #tellClosed: () => void = () => {};
  /**
   * Managers that dialled in and are not in the list of members as this one has it: it may be new, or have been away while
   * all others were replaced, and only from them can it learn who is in the group.
   */
  readonly #strangers = new Map<number, RaftMember>();
  #removedIds: ReadonlySet<number> = new Set();
  #node: RaftNode;
  #front: Front | undefined;
  #self: RaftMember;
  #appliedIndex: number;
  #leads = false;
  /** The highest index that a reader on the main thread waits for, or has waited for. */
  #readPoint = 0;
  /** Why the log cannot be written, while it cannot. */
  #stalled: string | undefined;
  /** How little room there is, while there is too little. */
  #low: string | undefined;
  #toldStalled: string | undefined;
  #stopped = false;
  #toldRemoved = false;
  #compacting = false;
  #settling = false;
  #replacing = false;

  private constructor(start: WorkerStart, storage: RaftStorage, post: PostToMain, log: Log) {
    this.#start = start;
    this.#outbox = new Outbox(post);
    this.#post = (message, transfer) => this.#outbox.post(message, transfer);
    this.#log = log;
    this.closed = new Promise((resolve) => {
      this.#tellClosed = resolve;
    });
    this.#storage = storage;
    this.#appliedIndex = start.appliedIndex;
    this.#self = { ...start.member, raftId: storage.raftId };
    this.#transport = new Transport({
      clusterId: start.clusterId,
      tls: start.tls,
      handler: this.#transportHandler(),
      random: systemRandom,
      log,
    });
    this.#snapshotter = new Snapshotter({
      clusterId: start.clusterId,
      node: () => this.#node,
      transport: () => this.#transport,
      hello: (raftId) => this.#helloTo(raftId),
      post,
      log,
    });
    this.#report = new MemberReport(post);
    this.#comeback = this.#newComeback();
    this.#node = this.#newNode();
    this.#watch = new MainThreadWatch({ post, onSilent: () => this.#mainThreadSilent() });
  }

  /**
   * Opens everything and begins to take part.
   *
   * @throws ClusterError when the disk, the address or the group does not allow it.
   */
  static async open(start: WorkerStart, post: PostToMain, log: Log): Promise<WorkerSession> {
    const stalled = (reason: string | undefined) => {
      if (reason === undefined) log.info("the raft log is written again");
      else log.error("the raft log cannot be written: free some space", { err: reason });
      if (session === undefined) post({ type: "stalled", reason });
      else session.diskStalled(reason);
    };
    let session: WorkerSession | undefined;
    const storage = await RaftStorage.open({
      dir: start.dataDir,
      clusterId: start.clusterId,
      keys: start.keys,
      random: systemRandom,
      onStalled: stalled,
    });
    try {
      await prepareStorage(storage, start, { random: systemRandom, log });
      session = new WorkerSession(start, storage, post, log);
      await session.#run();
      return session;
    } catch (error) {
      if (session !== undefined) session.#halt();
      await storage.close();
      throw error;
    }
  }

  /** Takes a message of the main thread. */
  handle(message: ToWorker): void {
    if (this.#snapshotter.handle(message)) return;
    switch (message.type) {
      case "propose":
        this.#propose(message.id, cutBytes(message.bytes, message.lengths));
        return;
      case "read":
        this.#node.readIndex().then(
          (index) => {
            this.#readPoint = Math.max(this.#readPoint, index);
            this.#post({ type: "read-point", id: message.id, index });
          },
          (error) => this.#post({ type: "read-failed", id: message.id, error: errorData(error) }),
        );
        return;
      case "applied":
        this.#appliedIndex = Math.max(this.#appliedIndex, message.index);
        this.#node.applied(message.index);
        return;
      case "compacted":
        this.#compact(message.index);
        return;
      case "pong":
        this.#watch.answered();
        return;
      case "call":
        this.#answer(message.id, this.#call(message.call));
        return;
      default:
    }
  }

  /** Writes stand still, or go on: a leader that cannot write gives way. */
  diskStalled(reason: string | undefined): void {
    this.#stalled = reason;
    this.#tellStalled();
    if (reason === undefined || this.#node.leadership.role !== "leader") return;
    this.#handOver("its disk is full");
  }

  /** Alone, a manager refuses writes ahead of the end of its disk; of several the others have room. */
  #lookAtDisk(): void {
    statfs(this.#start.dataDir).then(
      ({ blocks, bavail, bsize }) => {
        const free = bavail * bsize;
        const isLow = blocks > 0 && free < diskReserveBytes;
        this.#low = isLow ? `${free} bytes are free, ${diskReserveBytes} are needed` : undefined;
        this.#tellStalled();
      },
      () => {
        // Not every file system tells; then a write finds out.
      },
    );
  }

  #tellStalled(): void {
    const isAlone = this.#node.membership.confState.voters.length === 1;
    const reason = this.#stalled ?? (isAlone ? this.#low : undefined);
    // How much is free changes all the time; it goes along, but is no reason to tell.
    if (this.#stopped || (reason === undefined) === (this.#toldStalled === undefined)) return;
    this.#toldStalled = reason;
    this.#post({ type: "stalled", reason });
  }

  async #run(): Promise<void> {
    this.#front = await openFront({
      listen: this.#start.listen,
      relayPath: this.#start.relayPath,
      onRaft: (socket) => this.#transport.accept(socket),
      onRaftStream: (socket) => this.#transport.acceptStream(socket),
      onOther: this.#start.handsOver
        ? (connection) => this.#post({ type: "connection", connection })
        : undefined,
      log: this.#log,
    });
    const { host, port } = this.#front.address;
    this.#self = { ...this.#self, address: this.#self.address.replace(/:0$/, `:${port}`) };
    this.#post({ type: "started", raftId: this.#self.raftId, host, port });
    this.#node.learnAddress(this.#self.raftId, this.#self.address);
    this.#membersChanged(this.#node.membership);
    this.#startTimers();
    this.#comeback.begin();
  }

  #startTimers(): void {
    const { tickMs } = timingOf(this.#start.profile);
    const every = (ms: number, work: () => void) => this.#timers.push(setInterval(work, ms));
    every(tickMs, () => this.#node.tick());
    every(raftFloorPeriodMs, () => this.#settle());
    every(raftFloorPeriodMs, () => this.#comeback.look());
    every(diskLookMs, () => this.#lookAtDisk());
    this.#watch.start();
    every(500, () => this.#report.update(this.#node, this.#transport, this.#storage));
  }

  #settle(): void {
    if (this.#settling) return;
    this.#settling = true;
    this.#storage
      .settle()
      .catch((error: unknown) => this.#fatal(error))
      .finally(() => {
        this.#settling = false;
      });
  }

  #compact(index: number): void {
    if (this.#compacting) return;
    this.#compacting = true;
    this.#node
      .compact(index)
      .catch((error: unknown) => this.#fatal(error))
      .finally(() => {
        this.#compacting = false;
      });
  }

  #propose(id: number, list: readonly Uint8Array[]): void {
    try {
      const { firstIndex, term } = this.#node.propose(list);
      // Nobody goes on because of it before the entry is committed or lost.
      this.#outbox.postLater({ type: "proposed", id, firstIndex, term });
    } catch (error) {
      this.#post({ type: "proposal-failed", id, error: errorData(error) });
    }
  }

  #answer(id: number, work: Promise<void>): void {
    work.then(
      () => this.#post({ type: "answer", id, error: undefined }),
      (error) => this.#post({ type: "answer", id, error: errorData(error) }),
    );
  }

  async #call(call: HostCall): Promise<void> {
    switch (call.kind) {
      case "add-member":
        return this.#node.duties.addMember(call.member);
      case "remove-member":
        return this.#node.duties.removeMember(call.raftId);
      case "transfer":
        return this.#node.duties.transferLeadership(call.to);
      case "rotate-keys":
        return this.#storage.rotateKeys(call.keys);
      case "update-tls":
        this.#transport.updateTls(call.tls);
        return;
      case "readdress":
        return this.#readdress(call.address);
      case "stop":
        return this.#stop(call.transfer);
    }
  }

  /** This member is reached elsewhere now: connections from the old address are as good as lost. */
  #readdress(address: string): void {
    this.#self = { ...this.#self, address };
    this.#node.learnAddress(this.#self.raftId, address);
    this.#transport.redial();
  }

  async #stop(transfer: boolean): Promise<void> {
    if (this.#stopped) return this.closed;
    if (transfer && this.#node.membership.confState.voters.length > 1) {
      await this.#node.duties.transferLeadership().catch((error: unknown) => {
        this.#log.warn("leadership was not handed over before the stop", { err: error });
      });
    }
    this.#halt();
    await this.#close();
  }

  /** Closes what holds files and sockets. */
  async #close(): Promise<void> {
    try {
      await this.#front?.close();
      await this.#storage.close();
    } finally {
      // After the answer to the call that stopped the session.
      setImmediate(this.#tellClosed);
    }
  }

  #halt(): void {
    this.#stopped = true;
    this.#watch.stop();
    for (const timer of this.#timers) clearInterval(timer);
    this.#comeback.stop();
    this.#node.stop();
    this.#transport.close();
  }

  #newNode(): RaftNode {
    return new RaftNode({
      raftId: this.#storage.raftId,
      storage: this.#storage,
      appliedIndex: this.#appliedIndex,
      timing: timingOf(this.#start.profile),
      random: systemRandom,
      log: this.#log,
      events: this.#nodeEvents(),
    });
  }

  #nodeEvents(): RaftNodeEvents {
    return {
      send: (message) => this.#transport.send(message),
      flush: () => this.#transport.flush(),
      sendSnapshot: (message) => this.#snapshotter.send(message),
      committed: (batch) => this.#postCommitted(batch),
      leadership: ({ term, leader, role, readyIndex }) => {
        this.#leads = role === "leader";
        this.#post({ type: "leadership", term, leader, leads: this.#leads, readyIndex });
        this.#report.update(this.#node, this.#transport, this.#storage);
      },
      membership: (membership) => this.#membersChanged(membership),
      removed: () => this.#idRemoved(),
      lost: (reason) => this.#replaceSelf(reason),
      failed: (error) => this.#fatal(error),
    };
  }

  #transportHandler(): TransportHandler {
    return {
      self: () => this.#self,
      helloFacts: (raftId) => this.#helloFacts(raftId),
      isRemoved: (raftId) => this.#removedIds.has(raftId),
      onHello: (hello, addresses) => this.#greeted(hello, addresses),
      onOthers: (others) => {
        for (const member of others) this.#transport.hint(member);
      },
      onMessages: (messages) => this.#node.step(messages),
      onUnreachable: (raftId) => this.#node.reportUnreachable(raftId),
      onConnected: (raftId, address) => this.#node.learnAddress(raftId, address),
      onRemoved: () => this.#idRemoved(),
      onSnapshot: (message, chunks) => this.#snapshotter.receive(message, chunks),
      onRejoin: (request) => this.#takeInAnew(request),
    };
  }

  #helloTo(raftId: number): RaftHello {
    return helloTo({ clusterId: this.#start.clusterId, handler: this.#transportHandler() }, raftId);
  }

  #helloFacts(raftId: number): Pick<RaftHello, "leaderTerm" | "match" | "others"> {
    const { role, term } = this.#node.leadership;
    const others = [...this.#node.membership.members.values()]
      .filter((member) => member.raftId !== raftId && member.raftId !== this.#self.raftId)
      .map((member) => ({ ...member, address: this.#transport.addressOf(member.raftId) ?? "" }))
      .filter((member) => member.address !== "");
    if (role !== "leader") return { leaderTerm: 0, match: 0, others };
    const match = this.#node.status().progress.get(raftId)?.match ?? 0;
    return { leaderTerm: term, match, others };
  }

  #greeted(hello: RaftHello, addresses: readonly string[]): void {
    const { from } = hello;
    if (from === undefined) return;
    const known = this.#node.membership.members.get(from.raftId);
    if (known !== undefined && known.nodeId !== from.nodeId) {
      const text = `member ${from.raftId} is node ${known.nodeId}, not ${from.nodeId}`;
      throw new ClusterError("permission-denied", text);
    }
    const { term, lastIndex } = this.#node.status();
    if (hello.match > lastIndex && hello.leaderTerm >= term) {
      this.#replaceSelf(
        `the leader counts on index ${hello.match}, but the log ends at ${lastIndex}`,
      );
      return;
    }
    if (!this.#node.membership.members.has(from.raftId)) {
      this.#strangers.set(from.raftId, from);
      const [oldest] = this.#strangers.keys();
      if (this.#strangers.size > strangersMax && oldest !== undefined)
        this.#strangers.delete(oldest);
      this.#membersChanged(this.#node.membership);
    }
    this.#transport.learn(from.raftId, addresses);
  }

  #membersChanged(membership: Membership): void {
    if (this.#stopped) return;
    this.#removedIds = new Set(membership.removed);
    for (const id of this.#strangers.keys()) {
      // The group's own list has it now, one way or the other.
      if (membership.members.has(id) || membership.removed.includes(id)) this.#strangers.delete(id);
    }
    const peers = [...membership.members.values(), ...this.#strangers.values()];
    this.#transport.setPeers(peers.filter((member) => member.raftId !== this.#self.raftId));
    this.#report.update(this.#node, this.#transport, this.#storage);
  }

  /** The id is not in the group (any more); while this member comes back, its old one is not meant to be. */
  #idRemoved(): void {
    if (this.#storage.replaces === 0) this.#removed();
  }

  #removed(): void {
    if (this.#toldRemoved) return;
    this.#toldRemoved = true;
    this.#log.warn("this manager was removed from the raft group");
    this.#post({ type: "removed" });
  }

  #postCommitted(batch: CommittedEntries): void {
    const meta = new Float64Array(batch.entries.length * 3);
    let total = 0;
    for (const entry of batch.entries) total += entry.type === "normal" ? entry.data.length : 0;
    // Slow means: not of the pool, whose memory could not be moved. All of it is written.
    const bytes = Buffer.allocUnsafeSlow(total);
    let at = 0;
    let slot = 0;
    for (const entry of batch.entries) {
      const data = entry.type === "normal" ? entry.data : undefined;
      meta[slot++] = entry.index;
      meta[slot++] = entry.term;
      meta[slot++] = data?.length ?? 0;
      if (data !== undefined) bytes.set(data, at);
      at += data?.length ?? 0;
    }
    const message = { type: "committed", lastIndex: batch.lastIndex, meta, bytes } as const;
    const transfer = [meta.buffer, bytes.buffer];
    // Of a follower nobody waits for it but readers; to wake the main thread now would delay what the leader waits for.
    const isAwaited = this.#leads || (batch.entries[0]?.index ?? 0) <= this.#readPoint;
    if (isAwaited) this.#post(message, transfer);
    else this.#outbox.postLater(message, transfer);
  }

  /** Gives up the log that lost entries and begins anew under another id. */
  #replaceSelf(reason: string): void {
    if (this.#stopped || this.#replacing) return;
    const before = this.#node;
    const { membership } = before;
    const others = membership.confState.voters.filter((id) => id !== this.#self.raftId);
    if (others.length === 0 && membership.confState.voters.length > 0) {
      this.#fatal(new ClusterError("internal", reason));
      return;
    }
    this.#log.error("the raft log lost entries: this manager joins its group anew", {
      err: reason,
    });
    this.#replacing = true;
    before.stop();
    const raftId = newRaftId(systemRandom);
    this.#storage
      .begin({
        raftId,
        replaces: this.#storage.replaces || this.#self.raftId,
        anchor: { index: 0, term: 0 },
        hardState: { term: 0, vote: 0, commit: 0 },
        config: RaftSnapshotMeta.create({ members: metaFromMembership(membership).members }),
      })
      .then(() => {
        if (this.#stopped) return;
        this.#self = { ...this.#self, raftId };
        this.#node = this.#newNode();
        this.#replacing = false;
        this.#transport.setPeers([]);
        this.#membersChanged(this.#node.membership);
        this.#comeback.begin();
      })
      .catch((error: unknown) => this.#fatal(error));
  }

  /** Takes a member in that lost its log; says what this one is when it does not lead. */
  async #takeInAnew(request: RaftRejoinRequest): Promise<void> {
    const { member, oldRaftId } = request;
    if (member === undefined) throw new ClusterError("invalid-argument", "no member is named");
    const node = this.#node;
    const { role, leader } = node.leadership;
    if (role !== "leader") {
      this.#comeback.heard(request);
      const known = node.membership.members.get(leader);
      throw this.#comeback.refusal(known && { ...known, address: this.#addressOf(known) });
    }
    try {
      await node.duties.replaceMember(member, oldRaftId);
    } catch (error) {
      if (!hasCode(error, "not-found")) throw error;
      // Certain only for a leader that is one still, and knows all that was decided before.
      const index = await node.readIndex();
      if (node.status().applied < index) throw this.#comeback.refusal(undefined);
      throw new ClusterError("not-found", errorText(error), { fields: { removed: true } });
    }
  }

  #newComeback(): Comeback {
    const { clusterId } = this.#start;
    return new Comeback({
      clusterId,
      self: () => this.#self,
      replaces: () => this.#storage.replaces,
      isIn: () => {
        const { index, members } = this.#node.membership;
        return index > 0 && members.has(this.#self.raftId);
      },
      members: () =>
        [...this.#node.membership.members.values()].map((member) => ({
          ...member,
          address: this.#addressOf(member),
        })),
      hasLeader: () => this.#node.leadership.leader !== none,
      state: () => Math.max(this.#appliedIndex, this.#storage.tail.lastIndex()),
      ask: (member, request) =>
        askToReplace({
          address: member.address,
          tls: this.#transport.tls,
          expected: { clusterId, nodeId: member.nodeId },
          request,
        }),
      end: () => this.#storage.endReplacement(),
      removed: () => this.#removed(),
      standstill: (reason) => this.#post({ type: "standstill", reason }),
      failed: (error) => this.#fatal(error),
      log: this.#log,
    });
  }

  #addressOf({ raftId, address }: RaftMember): string {
    return this.#transport.addressOf(raftId) ?? address;
  }

  #mainThreadSilent(): void {
    if (this.#node.leadership.role === "leader") this.#handOver("its main thread does not answer");
  }

  #handOver(why: string): void {
    if (this.#node.membership.confState.voters.length < 2) return;
    this.#log.warn("this manager gives up leadership", { reason: why });
    this.#node.duties.transferLeadership().catch((error: unknown) => {
      this.#log.warn("leadership was not handed over", { err: error });
    });
  }

  #fatal(error: unknown): void {
    if (this.#stopped) return;
    this.#halt();
    this.#post({ type: "fatal", error: errorData(error) });
    this.#close().catch((failure: unknown) => {
      this.#log.warn("raft did not close cleanly", { err: errorText(failure) });
    });
  }
}

function cutBytes(bytes: Uint8Array, lengths: Uint32Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) {
    parts.push(bytes.subarray(at, at + length));
    at += length;
  }
  return parts;
}
