/**
 * One life of this node in a swarm: from init, join or the start of the daemon to leave or its stop.
 *
 * Runs the agent and the renewer, and the manager while the node's certificate says so: a change of role arrives as a
 * new certificate, and starts or stops the manager.
 */
import type { Duplex } from "node:stream";
import { Agent, type AgentOptions } from "../../agent/agent.ts";
import type { Executor } from "../../agent/exec/executor.ts";
import { openStorage } from "../../agent/storage.ts";
import type { Manager, ManagerStart } from "../../manager/manager.ts";
import { hasRaftLog, ManagerState, removeManagerState } from "../../manager/manager-state.ts";
import {
  DispatcherService,
  type Node,
  type Peer,
  type RaftMember,
  RaftMembershipService,
  TunnelService,
} from "../common/api/generated/api.ts";
import type { Clock } from "../common/clock/clock.ts";
import type { SwarmAttachments } from "../common/container/attachments.ts";
import { ClusterError, errorText, hasCode } from "../common/errors/cluster-error.ts";
import { isRemoval } from "../common/errors/removal.ts";
import { identityOf, parseCertificate } from "../common/identity/certificate.ts";
import type { Identity, TlsMaterial } from "../common/identity/types.ts";
import { newRaftId } from "../common/ids/ids.ts";
import { rpcProbeMs } from "../common/limits/limits.ts";
import type { Log } from "../common/log/log.ts";
import type { Random } from "../common/random/random.ts";
import type { Registry } from "../common/registry/registry.ts";
import type { ReceivedIdentity } from "../common/rpc/ca-client.ts";
import { dial } from "../common/rpc/client.ts";
import { RpcClients } from "../common/rpc/clients.ts";
import { openDirect } from "../common/rpc/direct-client.ts";
import { isReached } from "../common/rpc/probe.ts";
import type { InterfaceAddress } from "./address.ts";
import { parseHostPort } from "./address.ts";
import { attachmentsOf } from "./attachments.ts";
import { saveCredentials } from "./credentials.ts";
import { Renewer } from "./renewer.ts";
import type { NodeAddresses, NodeState, StateFiles } from "./state-files.ts";

/** What a life is started with. */
export interface MemberOptions {
  readonly files: StateFiles;
  readonly state: NodeState;
  readonly tls: TlsMaterial;
  /** `<data>/raft`. */
  readonly raftFolder: string;
  readonly nodeKey: Uint8Array;
  readonly relayPath: string;
  readonly profile: "normal" | "slow-disk";
  readonly executor: Executor;
  readonly network: AgentOptions["network"];
  /** What images stand for is asked there. */
  readonly registry: Pick<Registry, "resolve">;
  /** Where the agent remembers its tasks. */
  readonly agentFolder: string;
  /** Manager state that is open already; the member closes it. */
  readonly managerState: ManagerState | undefined;
  /** How the manager of this start comes about. */
  readonly start: ManagerStart;
  /** Takes the requests a manager sends through a tunnel. */
  readonly serveTunnel: (stream: Duplex) => void;
  /** Addresses of this machine. */
  readonly interfaces: () => readonly InterfaceAddress[];
  /** The node has a new certificate; other keys that get old with it may follow. */
  readonly renewed?: () => void;
  /** Something `SwarmStatus` shows may have changed. */
  readonly onChange: () => void;
  /** The life cannot go on. */
  readonly onFatal: (error: unknown) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Pause before a manager that could not start is tried again, milliseconds. */
const managerRetryMs = 1000;

/** What may pass: others that are away, or what they know of this node, which a new certificate settles. */
const passingCodes: ReadonlySet<string> = new Set([
  "unavailable",
  "deadline-exceeded",
  "aborted",
  "cancelled",
  "permission-denied",
]);

/** A running membership. */
export class Member {
  readonly #o: MemberOptions;
  readonly #agent: Agent;
  readonly #renewer: Renewer;
  /** Connections for tunnels. */
  readonly #clients: RpcClients;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];
  #state: NodeState;
  #tls: TlsMaterial;
  /** What the certificate says; parsed once, as every request asks for it. */
  #identity: Identity;
  #manager: Manager | undefined;
  #managerState: ManagerState | undefined;
  #start: ManagerStart;
  #error: unknown;
  #isRemoved = false;
  /** Starts and stops of the manager, one after the other. */
  #roleChange: Promise<void> = Promise.resolve();
  /** Saves of key and certificate, one after the other. */
  #saving: Promise<void> = Promise.resolve();

  constructor(options: MemberOptions) {
    this.#o = options;
    this.#state = options.state;
    this.#tls = options.tls;
    this.#identity = identityOf(parseCertificate(options.tls.certificate));
    this.#clients = new RpcClients(options.tls, options.state.clusterId);
    this.#managerState = options.managerState;
    this.#start = options.start;
    const { clock, random, log } = options;
    this.#agent = new Agent({
      identity: () => ({
        ...this.#state,
        ownAddresses: options.interfaces().map(({ address }) => address),
      }),
      managers: options.state.managers,
      executor: options.executor,
      network: options.network,
      openStorage: () =>
        openStorage(options.agentFolder, (error) =>
          log.warn("agent storage begun anew", { err: errorText(error) }),
        ),
      connect: this.#connect,
      probe: (manager, signal) =>
        isReached(this.#dialable(manager), { withinMs: rpcProbeMs, signal }),
      onManagers: (managers) => this.#own(this.#remember({ managers })),
      onNode: (node) => this.#nodeChanged(node),
      onRemoved: (error) => this.#removed(error),
      onRoots: (roots) => this.#rootsChanged(roots),
      tunnels: {
        dial: (manager) =>
          this.#clients
            .to({ nodeId: manager.nodeId, address: this.#dialable(manager) })
            .stream(TunnelService.open),
        serve: options.serveTunnel,
      },
      clock,
      random,
      log,
    });
    this.#renewer = new Renewer(
      {
        present: () => this.#tls,
        managers: () => this.#agent.managers().map((m) => this.#dialable(m)),
        renewed: (received) => this.#renewed(received),
        selfIssue: () => this.#selfIssue(),
        removed: (error) => this.#removed(error),
      },
      { clock, random, log },
    );
  }

  /** Starts everything; resolves when the manager, if the node is one, runs. @throws ClusterError */
  async start(): Promise<void> {
    const { signal } = this.#stop;
    // First: a manager that was demoted while it was off cannot start, and learns what it is now by a new certificate.
    this.#running.push(this.#renewer.run(signal));
    if (this.identity().role === "manager") await this.#changeRole(() => this.#startManager());
    // A change of role that the end of the daemon cut off half-way.
    else if (this.#managerState !== undefined) await this.#changeRole(() => this.#becomeWorker());
    signal.throwIfAborted();
    this.#running.push(this.#agent.run(signal));
  }

  identity(): Identity {
    return this.#identity;
  }

  state(): NodeState {
    return this.#state;
  }

  manager(): Manager | undefined {
    return this.#manager;
  }

  managerState(): ManagerState | undefined {
    return this.#managerState;
  }

  knownManagers(): AgentOptions["managers"] {
    return this.#agent.managers();
  }

  /** Whether the agent has a session. */
  isConnected(): boolean {
    return this.#agent.status().connected;
  }

  /** Networks of the swarm for containers that are run by hand. */
  attachments(): SwarmAttachments {
    return attachmentsOf({
      nodeId: () => this.#state.nodeId,
      managers: () => {
        const own = (nodeId: string) => (nodeId === this.#state.nodeId ? 0 : 1);
        return [...this.#agent.managers()]
          .sort((a, b) => own(a.nodeId) - own(b.nodeId))
          .map((m) => this.#clients.to({ nodeId: m.nodeId, address: this.#dialable(m) }));
      },
    });
  }

  /** What ails the node, while something does. */
  error(): unknown {
    const present = this.#error ?? this.#manager?.standstill();
    return present ?? (this.isConnected() ? undefined : this.#agent.status().error);
  }

  /** Resolves once the agent is registered and the manager, if there is one, serves. @throws the signal's reason */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#manager?.ready(signal);
    await this.#agent.registered(signal);
  }

  /** Tells the cluster that this node leaves; gives up when the signal aborts. */
  async sayGoodbye(signal: AbortSignal): Promise<void> {
    if (!this.isConnected()) return;
    await Promise.race([
      this.#agent.sayGoodbye(),
      new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve(), { once: true });
      }),
    ]);
  }

  /** Gives up what is under way, such as a manager that cannot start yet; `stop` has to follow. */
  giveUp(reason: ClusterError): void {
    this.#stop.abort(reason);
  }

  /** The machine has other addresses now: the cluster is told. @throws what the disk or the manager refuses. */
  async readdress(addresses: NodeAddresses): Promise<void> {
    await this.#remember(addresses);
    await this.#manager?.readdress(addresses.advertiseAddress);
    this.#agent.reconnect();
    this.#o.onChange();
  }

  /** Says that the cluster answered: a later start goes on with it. */
  async settled(): Promise<void> {
    if (this.#state.initialising) await this.#remember({ initialising: false });
  }

  /** Ends this life; what is on disk stays. */
  async stop(): Promise<void> {
    this.#stop.abort(new ClusterError("unavailable", "the node is stopping"));
    await this.#roleChange;
    await this.#stopManager();
    await Promise.allSettled(this.#running);
    // A renewal that was just coming in may have begun another change of role.
    await this.#roleChange;
    await this.#stopManager();
    this.#clients.close();
    await this.#saving;
    await this.#managerState?.close();
  }

  readonly #connect: AgentOptions["connect"] = async (manager, signal) => {
    const stream = openDirect(DispatcherService.session, {
      address: this.#dialable(manager),
      tls: this.#tls,
      expected: { role: "manager", clusterId: this.#state.clusterId },
      signal,
    });
    return {
      messages: stream,
      send: (message) => {
        stream.write(message).catch(() => {
          // The reading side of the stream reports why it ended.
        });
      },
      close: () => stream.cancel(),
    };
  };

  /** Where a manager is dialled: the node's own one without a way over the network. */
  #dialable({ nodeId, address }: Pick<Peer, "nodeId" | "address">): string {
    const own = nodeId === this.#state.nodeId ? this.#manager : undefined;
    return own?.localAddress() ?? address;
  }

  #nodeChanged(node: Node): void {
    this.#error = undefined;
    if (node.role !== this.identity().role) this.#renewer.now();
    this.#o.onChange();
  }

  #rootsChanged(roots: string): void {
    if (roots === this.#tls.roots) return;
    this.#tls = { ...this.#tls, roots };
    this.#manager?.updateTls(this.#tls);
    this.#clients.updateTls(this.#tls);
    this.#own(this.#saveCredentials());
  }

  async #renewed({ tls, identity }: ReceivedIdentity): Promise<void> {
    const before = this.identity().role;
    if (identity.role === "manager") {
      // A demotion under way still removes what a manager keeps; the key must not be sealed with data keys that go.
      if (before === "worker") await this.#roleChange;
      await this.#openManagerState();
    }
    this.#tls = tls;
    this.#identity = identity;
    await this.#saveCredentials();
    this.#manager?.updateTls(tls);
    this.#clients.updateTls(tls);
    this.#o.renewed?.();
    if (before !== identity.role) {
      this.#own(
        this.#changeRole(() =>
          identity.role === "manager" ? this.#becomeManager() : this.#becomeWorker(),
        ),
      );
    }
    this.#o.onChange();
  }

  #selfIssue(): TlsMaterial | undefined {
    if (this.identity().role !== "manager") return undefined;
    return this.#managerState?.selfIssue(this.#state.nodeId, this.#tls);
  }

  async #becomeManager(): Promise<void> {
    this.#start = { kind: "join", members: [] };
    await this.#remember({ raftId: 0, joining: true });
    await this.#startManager();
  }

  async #becomeWorker(): Promise<void> {
    await this.#stopManager();
    await this.#managerState?.close();
    this.#managerState = undefined;
    // The key is sealed with data keys that are about to go: it is kept in the clear before they do.
    await this.#saveCredentials();
    await this.#remember({ raftId: 0 });
    const { raftFolder: folder, files } = this.#o;
    await removeManagerState({ folder, keysPath: files.keysPath });
    this.#agent.reconnect();
  }

  /** Tries until it runs or the life ends: the other managers may be away just now. */
  async #startManager(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      // Demoted before it could start: the change of role that waits behind this one has its turn.
      if (signal.aborted || this.#isRemoved || this.#identity.role !== "manager") return;
      try {
        await this.#tryManager();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (this.#isLasting(error)) throw error;
        this.#error = error;
        this.#o.onChange();
        this.#o.log.warn("manager not started", { err: errorText(error) });
        await this.#o.clock.sleep(managerRetryMs, signal).catch(() => {
          // Stopped: the next try is not made.
        });
      }
    }
  }

  /** Whether trying again cannot help. Whoever makes a new cluster is there to be told what is in the way. */
  #isLasting(error: unknown): boolean {
    if (isRemoval(error)) return true;
    if (this.#start.kind === "bootstrap") return true;
    const isPassing = error instanceof ClusterError && passingCodes.has(error.code);
    return !isPassing && this.#start.kind !== "join";
  }

  async #tryManager(): Promise<void> {
    const { raftFolder, relayPath, profile, clock, random, log } = this.#o;
    const state = await this.#openManagerState();
    let start = this.#start;
    // Without others there is nobody to ask: what is left decides, and says what is missing.
    const isLost = start.kind === "resume" && !start.forceNewCluster && !hasRaftLog(raftFolder);
    const { nodeId } = this.#state;
    if (isLost && this.#agent.managers().some((m) => m.nodeId !== nodeId)) {
      start = { kind: "join", members: [] };
    }
    if (start.kind === "join") start = { kind: "join", members: await this.#joinGroup() };
    else if (start.kind === "resume" && !start.forceNewCluster) {
      start = { ...start, members: await this.#otherMembers(state) };
    }
    const tls = this.#tls;
    const member = this.#raftMember();
    // Loaded when wanted: a worker has no use for it, and it is 3 MB.
    const { Manager } = await import("../../manager/manager.ts");
    const manager = await Manager.start({
      state,
      folder: raftFolder,
      member,
      clusterId: this.#state.clusterId,
      listen: parseHostPort(this.#state.listenAddress, 0, "listen address"),
      relayPath,
      tls,
      start,
      profile,
      registry: this.#o.registry,
      onKeys: () => this.#saveCredentials(),
      onRemoved: () => {
        // Its tables learn no more: another manager has to say what this node is now.
        this.#agent.removeManager(this.#state.nodeId);
        this.#agent.reconnect();
      },
      clock,
      random,
      log,
    });
    this.#manager = manager;
    // What changed during the start.
    if (this.#tls !== tls) manager.updateTls(this.#tls);
    const { advertiseAddress } = this.#state;
    if (advertiseAddress !== member.address) await manager.readdress(advertiseAddress);
    this.#start = { kind: "resume", forceNewCluster: false };
    this.#error = undefined;
    manager.fatal.catch((error) => {
      this.#fail(error);
      if (this.#manager !== manager) return;
      // It serves nobody any more: what it holds, such as the port, is let go.
      this.#own(this.#changeRole(() => this.#stopManager()));
    });
    this.#agent.addManager({
      nodeId: this.#state.nodeId,
      address: this.#state.advertiseAddress,
    });
    await this.#remember({ joining: false });
    this.#o.onChange();
  }

  /** Who to learn from should the log not be whole: the checkpoint knows them, or else the managers are asked. */
  async #otherMembers(state: ManagerState): Promise<readonly RaftMember[]> {
    const { nodeId } = this.#state;
    if (state.found.state === "loaded") {
      const managers = state.store.view().find("node", "role", "manager");
      return managers.flatMap(({ id, manager }) =>
        manager === undefined || id === nodeId
          ? []
          : [{ raftId: manager.raftId, nodeId: id, address: manager.address }],
      );
    }
    const others = this.#agent.managers().filter((m) => m.nodeId !== nodeId);
    return others.length === 0 ? [] : this.#joinGroup();
  }

  /** Asks the managers this node knows to let it into the Raft group. */
  async #joinGroup(): Promise<readonly RaftMember[]> {
    if (this.#state.raftId === 0 || !hasRaftLog(this.#o.raftFolder)) {
      await this.#remember({ raftId: newRaftId(this.#o.random) });
    }
    const others = this.#agent.managers().filter((m) => m.nodeId !== this.#state.nodeId);
    let failure: unknown = new ClusterError("unavailable", "no other manager is known");
    for (const { address } of others) {
      const client = dial({
        address,
        tls: this.#tls,
        expected: { role: "manager", clusterId: this.#state.clusterId },
      });
      try {
        const member = this.#raftMember();
        const { signal } = this.#stop;
        const { members } = await client.call(RaftMembershipService.join, { member }, { signal });
        return members;
      } catch (error) {
        failure = error;
        // No manager any more, by what the others know: the next certificate says so.
        if (hasCode(error, "permission-denied")) this.#renewer.now();
      } finally {
        client.close();
      }
    }
    throw failure;
  }

  async #stopManager(): Promise<void> {
    const manager = this.#manager;
    if (manager === undefined) return;
    this.#manager = undefined;
    this.#agent.removeManager(this.#state.nodeId);
    this.#o.onChange();
    await manager.stop({ transfer: true });
    // The manager closed it; a next one opens it anew.
    this.#managerState = undefined;
  }

  async #openManagerState(): Promise<ManagerState> {
    const { raftFolder, files, nodeKey, clock, random, log } = this.#o;
    this.#managerState ??= await ManagerState.open({
      folder: raftFolder,
      keysPath: files.keysPath,
      nodeKey,
      clock,
      random,
      log,
    });
    return this.#managerState;
  }

  #raftMember(): RaftMember {
    return {
      raftId: this.#state.raftId,
      nodeId: this.#state.nodeId,
      address: this.#state.advertiseAddress,
    };
  }

  async #remember(change: Partial<NodeState>): Promise<void> {
    this.#state = { ...this.#state, ...change };
    await this.#o.files.save(this.#state);
  }

  /** Writes key and certificate as they are when its turn comes; saves that ran together would mix their files. */
  #saveCredentials(): Promise<void> {
    const { files, random } = this.#o;
    const next = this.#saving.then(() => {
      const dataKeys = this.#managerState?.ring.dataKeys();
      return saveCredentials(files, this.#tls, { dataKeys, random });
    });
    this.#saving = next.catch(() => {
      // The caller of `#saveCredentials` owns the failure; the next one starts from here.
    });
    return next;
  }

  #changeRole(change: () => Promise<void>): Promise<void> {
    const next = this.#roleChange.then(change);
    this.#roleChange = next.catch(() => {
      // The caller of `#changeRole` owns the failure; the next change starts from here.
    });
    return next;
  }

  /** The cluster has removed this node: what is on disk stays, for a person to look at, until the node leaves. */
  #removed(error: ClusterError): void {
    if (this.#isRemoved) return;
    this.#isRemoved = true;
    this.#fail(error);
    this.#own(this.#changeRole(() => this.#stopManager()));
  }

  #fail(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#error = error;
    this.#o.log.error("node cannot go on", { err: errorText(error) });
    this.#o.onChange();
    this.#o.onFatal(error);
  }

  /** Gives a promise nobody waits for an owner. */
  #own(promise: Promise<unknown>): void {
    promise.catch((error) => this.#fail(error));
  }
}
