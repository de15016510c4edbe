/**
 * The life of one node: in no swarm, joining, in one, locked.
 *
 * Implements the Engine API's `SwarmPort`. Changes of state are made one after the other; reads of the state are plain. The
 * running parts of a membership are in `member.ts`, this file decides when there is one.
 */
import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Executor } from "../../agent/exec/executor.ts";
import type { NetworkPort } from "../../agent/network/state.ts";
import type { Manager } from "../../manager/manager.ts";
import { ManagerState, managerStateKind, removeManagerState } from "../../manager/manager-state.ts";
import type { Peer } from "../common/api/generated/api.ts";
import type { Clock } from "../common/clock/clock.ts";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { identityOf, parseCertificate } from "../common/identity/certificate.ts";
import type { TlsMaterial } from "../common/identity/types.ts";
import { apiRequestTimeoutMs, initTimeoutMs } from "../common/limits/limits.ts";
import type { Log } from "../common/log/log.ts";
import type { Random } from "../common/random/random.ts";
import type {
  InitRequest,
  JoinRequest,
  LocalNodeState,
  ManagerMember,
  SwarmPort,
  SwarmStatus,
} from "../engine/ports.ts";
import { hosts, type InterfaceAddress } from "./address.ts";
import { attachmentsThrough } from "./attachments.ts";
import type { ManagerSource } from "./backend.ts";
import { type DaemonConfig, runtimeSocket } from "./config.ts";
import { loadCredentials, saveCredentials } from "./credentials.ts";
import { createCluster, type Entry, joinCluster } from "./entry.ts";
import { Member, type MemberOptions } from "./member.ts";
import { mayPass } from "./passing.ts";
import { followAddresses, newAddresses } from "./readdress.ts";
import { recallNetworks } from "./recall.ts";
import { isValidAt } from "./renewer.ts";
import { type NodeState, StateFiles } from "./state-files.ts";
import { discardTasks } from "./task-leftovers.ts";

/** What a node is made with. */
export interface NodeOptions {
  readonly config: DaemonConfig;
  readonly interfaces: () => readonly InterfaceAddress[];
  /** The node has a new certificate. */
  readonly renewed?: () => void;
  /** Runs tasks. */
  readonly executor: Executor;
  /** The cluster's data path on this node. */
  readonly network: NetworkPort;
  readonly registry: MemberOptions["registry"];
  /** Takes the requests a manager sends to this node's Engine API. */
  readonly serveTunnel: (stream: Duplex) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Longest a node that leaves waits for the group to let it go, milliseconds. */
const leaveTimeoutMs = 5000;
/** Longest it waits for its goodbye to be heard, milliseconds. */
const goodbyeTimeoutMs = 1000;
/** Pause before a membership that could not be taken up is tried again, milliseconds. */
const takeUpRetryMs = 5000;
const initTimeoutText = "the node did not become a manager in time: the init was undone";
/** As Docker says it when a join takes longer than the request may. */
const joinTimeoutText =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.';

/** One node. */
export class SwarmNode implements SwarmPort, ManagerSource {
  readonly #o: NodeOptions;
  readonly #files: StateFiles;
  readonly #raftFolder: string;
  readonly #agentFolder: string;
  #member: Member | undefined;
  #lockedState: NodeState | undefined;
  /** What is on disk of a membership that could not be taken up. */
  #failedState: { readonly state: NodeState; readonly isManager: boolean } | undefined;
  /** A membership that is just being started; giving it up ends the start. */
  #starting: Member | undefined;
  #error: unknown;
  /** Ends the watch over the machine's addresses, with the membership. */
  #following = new AbortController();
  /** Set while a join is under way; aborting it gives the join up. */
  #joining: AbortController | undefined;
  readonly #stop = new AbortController();
  /** Set while what is on disk is read and started for the first time. */
  #isTakingUp = false;
  readonly #hostOf = hosts();
  #queue: Promise<unknown> = Promise.resolve();
  #watchers = new Set<() => void>();

  constructor(options: NodeOptions) {
    this.#o = options;
    this.#files = new StateFiles(options.config.dataRoot);
    this.#raftFolder = join(options.config.dataRoot, "raft");
    this.#agentFolder = join(options.config.dataRoot, "agent");
  }

  /** Takes up the membership that is on disk, if any. Never rejects: what fails shows in the status. */
  async start(): Promise<void> {
    this.#isTakingUp = this.#files.exist();
    await this.#serial(() => this.#takeUp());
  }

  async #takeUp(): Promise<void> {
    let state: NodeState | undefined;
    try {
      state = await this.#files.load();
      if (state === undefined) {
        this.#o.network.left();
        void discardTasks(this.#o, () => (this.#member ?? this.#joining) === undefined);
        return;
      }
      if (state.initialising === true) {
        // A node that was about to make a cluster when it stopped: nobody was told of it.
        this.#o.log.warn("remains of an init that was cut off are removed");
        await this.#clear();
        this.#o.network.left();
        return;
      }
      await recallNetworks(state.nodeId, { ...this.#o, agentFolder: this.#agentFolder });
      if (managerStateKind(this.#files.keysPath) === "locked") {
        this.#lockedState = state;
        this.#o.log.warn('swarm locked: unlock it with "docker swarm unlock"');
      } else await this.#resume(state, { forceNewCluster: false });
    } catch (error) {
      // Whatever it is in, it cannot be read.
      if (state === undefined) this.#o.network.left();
      if (state !== undefined) this.#failedState = { state, isManager: this.#hasManagerState() };
      this.#fail(error);
      if (state !== undefined && mayPass(error)) void this.#takeUpLater();
    } finally {
      this.#isTakingUp = false;
      this.#tell();
    }
  }

  /** Tries again what may succeed without a person, such as once there is room on the disk. */
  async #takeUpLater(): Promise<void> {
    try {
      await this.#o.clock.sleep(takeUpRetryMs, this.#stop.signal);
    } catch {
      // The daemon stops.
      return;
    }
    await this.#serial(async () => {
      // Left, or taken up by other means, since.
      if (this.#failedState === undefined || this.#member !== undefined) return;
      await this.#takeUp();
    });
  }

  /** Whether there is what a manager keeps, be it damaged. */
  #hasManagerState(): boolean {
    try {
      return managerStateKind(this.#files.keysPath) !== "absent";
    } catch {
      // There, but not readable.
      return true;
    }
  }

  /** Gives up what is under way, so that what was asked for now has its turn. */
  #giveUp(reason: ClusterError): void {
    this.#joining?.abort(reason);
    this.#starting?.giveUp(reason);
  }

  /** Stops all swarm parts; the membership stays on disk. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#giveUp(new ClusterError("cancelled", "the daemon is stopping"));
    await this.#serial(() => this.#stopMember());
  }

  manager(): Manager | undefined {
    return this.#member?.manager();
  }

  /** Networks of the swarm for containers that are run by hand. */
  readonly attachments = attachmentsThrough(() => this.#member?.attachments());

  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const stop = () => {
        this.#watchers.delete(done);
        reject(signal.reason);
      };
      const done = () => {
        this.#watchers.delete(done);
        signal.removeEventListener("abort", stop);
        resolve();
      };
      this.#watchers.add(done);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  status(): SwarmStatus {
    const member = this.#member;
    const failed = this.#failedState;
    const state = member?.state() ?? this.#lockedState ?? failed?.state;
    const error = this.#error ?? member?.error();
    const identity = member?.identity();
    return {
      state: this.#localState(),
      nodeId: state?.nodeId ?? "",
      nodeAddress: state === undefined ? "" : this.#hostOf(state.advertiseAddress),
      isManager: identity === undefined ? this.#wasManager() : identity.role === "manager",
      controlAvailable: member?.manager() !== undefined,
      error: error === undefined ? "" : errorText(error),
      certificateExpired:
        identity !== undefined && this.#o.clock.now() > identity.notAfterMs && error !== undefined,
      remoteManagers: this.#remoteManagers(),
    };
  }

  /** What the disk says, while there is no certificate to ask. */
  #wasManager(): boolean {
    if (this.#isTakingUp) return this.#hasManagerState();
    return this.#failedState?.isManager === true;
  }

  members(): readonly ManagerMember[] {
    return (this.manager()?.members() ?? [])
      .filter((m) => !m.learner)
      .map(({ nodeId, address, isLeader, reachable }) => ({
        nodeId,
        address,
        leader: isLeader,
        reachable,
      }));
  }

  init(request: InitRequest): Promise<string> {
    return this.#serial(async () => {
      const stored = await this.#stored();
      if (request.forceNewCluster && stored !== undefined) {
        return this.#forceNewCluster(request, stored);
      }
      if (stored !== undefined) throw alreadyIn();
      try {
        const entry = await createCluster(request, this.#entryTools());
        return await this.#enter(entry, { withinMs: initTimeoutMs });
      } catch (error) {
        // Nobody knows of the new cluster yet: the node is as it was before.
        await this.#stopMember();
        await this.#clear();
        throw isTimeout(error) ? new ClusterError("deadline-exceeded", initTimeoutText) : error;
      }
    });
  }

  /** The membership this node has, running or not; what is on disk is not to be lost to another one. */
  async #stored(): Promise<NodeState | undefined> {
    return this.#member?.state() ?? this.#lockedState ?? (await this.#files.load());
  }

  join(request: JoinRequest): Promise<void> {
    const stop = new AbortController();
    const work = this.#serial(async () => {
      if ((await this.#stored()) !== undefined) throw alreadyIn();
      this.#joining = stop;
      this.#tell();
      try {
        const entry = await joinCluster(request, this.#entryTools(), stop.signal);
        await this.#enter(entry, { signal: stop.signal });
      } catch (error) {
        // One that only takes long goes on, and so does one that the daemon's stop cut short, at its next start.
        if (!this.#stop.signal.aborted && !isTimeout(error)) {
          await this.#stopMember();
          await this.#clear();
        }
        throw error;
      } finally {
        this.#joining = undefined;
        this.#tell();
      }
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new ClusterError("deadline-exceeded", joinTimeoutText));
        work.catch((error) => {
          if (!isTimeout(error)) this.#fail(error);
        });
      }, apiRequestTimeoutMs);
      work.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  async leave(_force: boolean): Promise<void> {
    this.#giveUp(new ClusterError("cancelled", "the node left while it was joining"));
    await this.#serial(async () => {
      await this.#leaveGroup();
      await this.#member?.sayGoodbye(AbortSignal.timeout(goodbyeTimeoutMs));
      await this.#stopMember();
      this.#lockedState = undefined;
      this.#failedState = undefined;
      this.#error = undefined;
      await this.#clear();
      await discardTasks(this.#o);
      this.#tell();
    });
  }

  unlock(key: string): Promise<void> {
    return this.#serial(async () => {
      const state = this.#lockedState;
      if (state === undefined) throw new ClusterError("failed-precondition", "swarm is not locked");
      await this.#resume(state, { forceNewCluster: false, unlockKey: key });
      this.#lockedState = undefined;
      this.#tell();
    });
  }

  async unlockKey(): Promise<string> {
    return this.#member?.managerState()?.unlockKeyText() ?? "";
  }

  #localState(): LocalNodeState {
    if (this.#lockedState !== undefined) return "locked";
    if (this.#joining !== undefined || (this.#isTakingUp && this.#member === undefined)) {
      return "pending";
    }
    if (this.#error !== undefined) return "error";
    const member = this.#member;
    if (member === undefined) return "inactive";
    return member.isConnected() || member.manager() !== undefined ? "active" : "pending";
  }

  #remoteManagers(): Peer[] {
    const members = this.manager()?.members();
    if (members !== undefined) {
      return members.map(({ nodeId, address, raftId }) => ({ nodeId, address, raftId }));
    }
    const known = this.#member?.knownManagers() ?? this.#lockedState?.managers ?? [];
    return known.map(({ nodeId, address }) => ({ nodeId, address, raftId: 0 }));
  }

  async #clear(): Promise<void> {
    await removeManagerState({ folder: this.#raftFolder, keysPath: this.#files.keysPath });
    await this.#files.clear();
    await rm(this.#agentFolder, { recursive: true, force: true });
  }

  /** Starts the membership that is on disk. @throws ClusterError */
  async #resume(
    stored: NodeState,
    options: { readonly forceNewCluster: boolean; readonly unlockKey?: string },
  ): Promise<void> {
    const isManager = managerStateKind(this.#files.keysPath) !== "absent";
    const state = this.#readdressed(stored);
    const nodeKey = await this.#nodeKey();
    const { clock, random, log } = this.#o;
    const managerState = isManager
      ? await ManagerState.open({
          folder: this.#raftFolder,
          keysPath: this.#files.keysPath,
          nodeKey,
          clock,
          random,
          log,
          ...(options.unlockKey === undefined ? {} : { unlockKey: options.unlockKey }),
        })
      : undefined;
    try {
      const dataKeys = managerState?.ring.dataKeys();
      const present = await loadCredentials(this.#files, { dataKeys, random });
      const tls = this.#unexpired(state, present, managerState);
      const kept = await this.#withoutRemains(tls, managerState);
      if (tls !== present) {
        await saveCredentials(this.#files, tls, { dataKeys: kept?.ring.dataKeys(), random });
      }
      await this.#files.save(state);
      await this.#startMember({
        state,
        tls,
        nodeKey,
        managerState: kept,
        start:
          state.joining && !options.forceNewCluster
            ? { kind: "join", members: [] }
            : { kind: "resume", forceNewCluster: options.forceNewCluster },
      });
    } catch (error) {
      if (this.#member === undefined) await managerState?.close();
      throw error;
    }
  }

  /** The manager's state; removed when the node is a worker by now and its demotion was cut off before that. */
  async #withoutRemains(
    tls: TlsMaterial,
    managerState: ManagerState | undefined,
  ): Promise<ManagerState | undefined> {
    const { role } = identityOf(parseCertificate(tls.certificate));
    if (managerState === undefined || role === "manager") return managerState;
    const { random } = this.#o;
    await saveCredentials(this.#files, tls, { dataKeys: undefined, random });
    await managerState.close();
    await removeManagerState({ folder: this.#raftFolder, keysPath: this.#files.keysPath });
    return undefined;
  }

  /** The certificate, or a new one that a manager issues to itself when it has run out, or is of a clock that was ahead. */
  #unexpired(
    state: NodeState,
    present: TlsMaterial,
    managerState: ManagerState | undefined,
  ): TlsMaterial {
    const identity = identityOf(parseCertificate(present.certificate));
    if (identity.role !== "manager" || isValidAt(identity, this.#o.clock.now())) return present;
    if (managerState === undefined || managerState.found.state !== "loaded") return present;
    const tls = managerState.selfIssue(state.nodeId, present);
    this.#o.log.warn("expired certificate renewed from the checkpoint", {
      "node.id": state.nodeId,
    });
    return tls;
  }

  /** The state with the address this machine has now: it may have been moved since. */
  #readdressed(state: NodeState): NodeState {
    try {
      const next = newAddresses(state, this.#o.interfaces());
      if (next === undefined) return state;
      this.#o.log.info("address changed", {
        from: state.advertiseAddress,
        to: next.advertiseAddress,
      });
      return { ...state, ...next };
    } catch (error) {
      // No address to choose yet, such as before DHCP has answered: the last one is the best guess.
      this.#o.log.warn("address not found", { err: errorText(error) });
      return state;
    }
  }

  async #enter(
    entry: Entry,
    o: { readonly withinMs?: number; readonly signal?: AbortSignal },
  ): Promise<string> {
    const { signal, withinMs = apiRequestTimeoutMs } = o;
    await this.#startMember({ ...entry });
    const limit = AbortSignal.timeout(withinMs);
    const ready = this.#member?.ready(
      AbortSignal.any(signal === undefined ? [limit] : [limit, signal]),
    );
    try {
      await ready;
    } catch (error) {
      if (signal?.aborted !== true) throw new ClusterError("deadline-exceeded", joinTimeoutText);
      throw error;
    }
    await this.#member?.settled();
    return entry.state.nodeId;
  }

  async #forceNewCluster(request: InitRequest, state: NodeState): Promise<string> {
    const role = this.#member?.identity().role;
    if (role === "worker" || managerStateKind(this.#files.keysPath) === "absent") {
      throw new ClusterError(
        "failed-precondition",
        "--force-new-cluster needs a node that was a manager of the swarm",
      );
    }
    const unlockKey = this.#member?.managerState()?.unlockKeyText() ?? "";
    await this.#stopMember();
    const setting = request.advertiseAddress;
    try {
      await this.#resume(setting === "" ? state : { ...state, advertiseSetting: setting }, {
        forceNewCluster: true,
        ...(unlockKey === "" ? {} : { unlockKey }),
      });
    } catch (error) {
      this.#failedState = { state, isManager: true };
      this.#fail(error);
      throw error;
    }
    await this.#member?.ready(AbortSignal.timeout(apiRequestTimeoutMs));
    return state.nodeId;
  }

  async #startMember(
    parts: Pick<MemberOptions, "state" | "tls" | "nodeKey" | "managerState" | "start">,
  ): Promise<void> {
    const { config, log } = this.#o;
    const member = new Member({
      ...this.#o,
      ...parts,
      files: this.#files,
      raftFolder: this.#raftFolder,
      relayPath: runtimeSocket(config, "relay"),
      profile: config.raftProfile,
      agentFolder: this.#agentFolder,
      onChange: () => this.#tell(),
      onFatal: (error) => this.#fail(error),
      log: log.with({ "node.id": parts.state.nodeId }),
    });
    this.#member = member;
    this.#starting = member;
    try {
      if (this.#stop.signal.aborted) throw new ClusterError("cancelled", "the daemon is stopping");
      await member.start();
    } catch (error) {
      this.#member = undefined;
      await member.stop();
      throw error;
    } finally {
      this.#starting = undefined;
    }
    this.#failedState = undefined;
    this.#error = undefined;
    this.#following = new AbortController();
    void followAddresses(member, this.#o, this.#following.signal);
    this.#tell();
  }

  async #stopMember(): Promise<void> {
    const member = this.#member;
    this.#member = undefined;
    this.#following.abort();
    await member?.stop();
    rmSync(runtimeSocket(this.#o.config, "relay"), { force: true });
    this.#tell();
  }

  /** A manager that leaves asks the others to go on without it; when they cannot, it goes all the same. */
  async #leaveGroup(): Promise<void> {
    const manager = this.manager();
    if (manager === undefined || manager.members().length < 2) return;
    try {
      await manager.leave(AbortSignal.timeout(leaveTimeoutMs));
    } catch (error) {
      this.#o.log.warn("left without the group's consent", { err: errorText(error) });
    }
  }

  #entryTools() {
    const { config, interfaces, executor, clock, random, log } = this.#o;
    return {
      config,
      interfaces,
      description: () => executor.describe(),
      clock,
      random,
      log,
      files: this.#files,
      raftFolder: this.#raftFolder,
      nodeKey: () => this.#nodeKey(),
    };
  }

  /** 32 bytes of this installation that seal a manager's data keys while autolock is off. */
  async #nodeKey(): Promise<Uint8Array> {
    const stored = await this.#files.read("sealing.key");
    if (stored !== undefined) return new Uint8Array(stored);
    const key = this.#o.random.bytes(32);
    await this.#files.write("sealing.key", key);
    return key;
  }

  #fail(error: unknown): void {
    if (error instanceof ClusterError && error.code === "cancelled") return;
    this.#error = error;
    this.#o.log.error("swarm error", { err: errorText(error) });
    this.#tell();
  }

  #tell(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Runs changes of state one after the other. */
  #serial<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work);
    this.#queue = next.catch(() => {
      // The caller owns the failure; the next change starts from here.
    });
    return next;
  }
}

/** Whether the node only does not answer yet. */
function isTimeout(error: unknown): boolean {
  return error instanceof ClusterError && error.code === "deadline-exceeded";
}

function alreadyIn(): ClusterError {
  return new ClusterError(
    "unavailable",
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
  );
}
