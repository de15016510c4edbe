/**
 * The data path of one node: gives containers their network namespaces, and makes the kernel hold what `plan.ts` says.
 *
 * One loop plans, takes the difference to what there is, and applies it in batches, one pass after the other; whatever
 * changes meanwhile is in the next pass. The kernel itself is looked at when the daemon starts, after failures and at
 * intervals. Namespaces and devices outlive the daemon, so that its restart cuts no traffic.
 */
import { rmdirSync } from "node:fs";
import { join } from "node:path";
import type { DataPath, LookRequest, NodeLook } from "../../src/common/container/data-path.ts";
import type { ContainerPlaces } from "../../src/common/container/networks.ts";
import type { Container } from "../../src/common/container/types.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import {
  networkLingerMs,
  networkLookMs,
  networkRetryMs,
  networkWaitMs,
} from "../../src/common/limits/network.ts";
import { apply, type Failure } from "./apply.ts";
import { asksNames } from "./asks-names.ts";
import { diff, isNothing } from "./diff.ts";
import { drain } from "./drain/drain.ts";
import { isEncrypted } from "./encrypted.ts";
import { look } from "./explain/look.ts";
import { GatewayPool } from "./gateway-pool.ts";
import { HostSettings } from "./host-settings.ts";
import { hostsOf, type Joined } from "./joined.ts";
import { Kernel } from "./kernel.ts";
import { watchKernel } from "./kernel-events.ts";
import type { Plumbing } from "./local/local-networks.ts";
import { hostSpace, type Plan, swarmSpace } from "./model.ts";
import { isNamespace, makeNamespace, removeNamespace } from "./namespace.ts";
import { ThreadNftables } from "./nft/library.ts";
import { containerNameServer, NodeNames } from "./node-names.ts";
import type { NodeNetworkOptions } from "./node-network-options.ts";
import { type NodeRules, newNodeRules, ownTables, type RulesInput } from "./node-rules.ts";
import { localInput, type SwarmJoin, sandboxOf, servicePorts, swarmPlaces } from "./places.ts";
import { plan } from "./plan.ts";
import type { Sandbox } from "./sandbox.ts";
import { SandboxStore } from "./sandbox-store.ts";
import { SwarmJoins } from "./swarm-joins.ts";
import { SwarmMembers } from "./swarm-members.ts";
import { Tunnel } from "./tunnel.ts";
import { Wireguard } from "./wireguard.ts";

/** The data path. */
export class NodeNetwork implements Pick<DataPath, "look"> {
  readonly #o: NodeNetworkOptions;
  readonly #thread: ThreadNftables;
  readonly #kernel: Kernel;
  readonly #store: SandboxStore;
  readonly #settings: HostSettings;
  readonly #rules: NodeRules;
  readonly #names: NodeNames;
  readonly #wireguard: Wireguard;
  readonly #tunnel: Tunnel;
  readonly #joins: SwarmJoins;
  readonly #members: SwarmMembers;
  readonly #pool: GatewayPool;
  readonly #sandboxes = new Map<string, Sandbox>();
  /** Containers of earlier lives of the daemon that nobody has spoken of yet. */
  readonly #unclaimed = new Set<string>();
  /** Containers that have ended, and whose namespaces are still there. */
  readonly #ended = new Set<string>();
  /** What the kernel holds of ours, as far as is known; undefined: to be looked at. */
  #applied: Plan | undefined;
  /** Whether everything that should be there is known, so that the rest may go. */
  #mayClean = false;
  #waiting: Waiter[] = [];
  #wake: () => void = () => undefined;
  #isKicked = true;
  #isPassing = false;
  /** When nothing needed the data path any more, monotonic; undefined while something does. */
  #idleSince: number | undefined;
  #isUp = false;
  readonly #stopping = new AbortController();
  /** What the last pass began with. */
  #input: RulesInput | undefined;
  /** Why the last pass did not make the kernel what it should be; empty when it did. */
  #trouble = "";

  constructor(options: NodeNetworkOptions) {
    this.#o = options;
    this.#store = new SandboxStore(options.folder);
    this.#thread = new ThreadNftables(options);
    this.#kernel = new Kernel({ ...options, fileOf: this.#fileOf, thread: this.#thread });
    const { folder, host, log } = options;
    this.#settings = new HostSettings(join(folder, "host-settings.json"), host, log);
    this.#rules = newNodeRules({
      ...options,
      host: options.host,
      nftables: this.#thread,
      swarmFile: this.swarmFile,
      fileOf: (id) => this.#store.fileOf(id),
    });
    this.#joins = new SwarmJoins(options);
    this.#wireguard = new Wireguard({
      ...options,
      host: options.host,
      confFile: join(options.folder, "wireguard.conf"),
      keepSettings: (paths) => this.#settings.keep(paths),
      onDown: () => {
        this.#applied = undefined;
        this.#kick();
      },
    });
    this.#tunnel = new Tunnel(this.#wireguard, options.log);
    this.#names = new NodeNames({
      ...options,
      source: options.cluster,
      swarmFile: this.swarmFile,
    });
    options.local.setPlumbing(this.#plumbing());
    this.#members = new SwarmMembers({
      cluster: () => options.cluster.current(),
      tell: (action, network, attributes) => options.local.tell(action, network, attributes),
    });
    options.cluster.settledBy(() => this.#settled());
    this.#pool = new GatewayPool(Math.floor(options.clock.now() / 100));
    for (const sandbox of this.#store.load()) {
      this.#sandboxes.set(sandbox.id, sandbox);
      this.#unclaimed.add(sandbox.id);
      this.#members.adopt(sandbox);
      if (sandbox.gateway !== undefined) this.#pool.take(sandbox.gateway.address);
    }
  }

  /** File that keeps the namespace `swarm`. */
  get swarmFile(): string {
    return join(this.#o.folder, swarmSpace);
  }

  /** Finds out what this node can do. Never rejects. */
  open(): Promise<void> {
    return this.#wireguard.open();
  }

  /** With which others reach this node in encrypted networks; empty where it cannot encrypt. */
  publicKey(): Uint8Array {
    return this.#wireguard.publicKey();
  }

  /** The key that will follow; empty unless it is about to change. */
  nextPublicKey(): Uint8Array {
    return this.#wireguard.nextPublicKey();
  }

  /** Begins to change the key with which others reach this node in encrypted networks. */
  rotateKey(): void {
    this.#wireguard.rotate();
  }

  /** Keeps the kernel as it should be until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { cluster, clock } = this.#o;
    const stopListening = cluster.listen(() => this.#kick());
    const ownPrefix = ownTables(this.#o.instance);
    const glancing = watchKernel({
      ...{ clock, signal, file: this.#o.host },
      filter: () => ({ ownPrefix, device: this.#kernel.underlayDevice }),
      onChange: () => {
        this.#applied = undefined;
        if (this.#isUp) this.#kick();
      },
    });
    const wake = () => this.#wake();
    signal.addEventListener("abort", wake, { once: true });
    let lookAt = clock.monotonic() + networkLookMs;
    let retryMs = networkRetryMs;
    const isKnown = await this.#clusterKnown(signal);
    while (!signal.aborted) {
      this.#isKicked = false;
      const isWell = await this.#passAll();
      retryMs = isWell ? networkRetryMs : Math.min(2 * retryMs, networkLookMs);
      const now = clock.monotonic();
      const pauses = [lookAt - now, isWell ? Infinity : retryMs, this.#idleLeftMs(now)];
      pauses.push(this.#wireguard.dueMs());
      await this.#pause(Math.min(...pauses), signal);
      if (clock.monotonic() < lookAt) continue;
      lookAt = clock.monotonic() + networkLookMs;
      this.#applied = undefined;
    }
    this.#stopping.abort();
    signal.removeEventListener("abort", wake);
    stopListening();
    await glancing;
    // What nobody uses is not left behind.
    if (this.#isKicked && isKnown) await this.#passAll();
    this.#tell({ error: new ClusterError("unavailable", "the daemon is stopping"), failures: [] });
    if (this.#idleSince !== undefined && this.#mayClean) {
      await this.#teardown().catch((error) => this.#warn(error));
    }
    await this.#names.stop();
    this.#kernel.close();
    await this.#rules.close();
  }

  /**
   * Waits until it is known what the node takes part in. By less than that the rules of an earlier life of the daemon, under
   * which connections go on, would be replaced by ones without peers, ports and services.
   *
   * @returns False when the signal aborted first.
   */
  async #clusterKnown(signal: AbortSignal): Promise<boolean> {
    const aborted = new Promise<false>((resolve) => {
      signal.addEventListener("abort", () => resolve(false), { once: true });
    });
    return Promise.race([this.#o.cluster.known.then(() => true), aborted]);
  }

  /** All containers of earlier lives and the state of the cluster are known: what nobody claimed goes. */
  claimed(): void {
    this.#mayClean = true;
    for (const id of this.#unclaimed) this.leave(id).catch((error) => this.#warn(error));
    const files = this.#store.files().filter((id) => !this.#sandboxes.has(id));
    for (const id of files) this.#ended.add(id);
    this.#unclaimed.clear();
    this.#applied = undefined;
    this.#kick();
  }

  /** Compares the kernel with what it should be now, and resolves when it is so again. @throws what kept it from that. */
  async inspect(): Promise<void> {
    this.#applied = undefined;
    const { error, failures } = await this.#nextPass();
    if (error !== undefined) throw error;
    const [first] = failures;
    if (first !== undefined) throw new ClusterError("unavailable", `${first.line}: ${first.error}`);
  }

  /** What the kernel has against the plan, for people. @throws ClusterError unavailable when it cannot be read. */
  look(request: LookRequest, signal: AbortSignal): Promise<NodeLook> {
    const tools = {
      input: () => this.#input,
      cluster: () => this.#o.cluster.current(),
      trouble: () => this.#trouble,
      fileOf: this.#fileOf,
      rules: this.#rules,
      thread: this.#thread,
      clock: this.#o.clock,
    };
    return look(request, tools, signal);
  }

  /**
   * Before a container is made: networks that are not there may be so when it starts, as with Docker, whose client takes a
   * word of something that is not found for one of the image.
   * @throws ClusterError for places in networks that cannot be had.
   */
  check(config: Container["config"]): void {
    this.#o.local.check(config);
  }

  /** Makes the namespace of a container that is about to start. @throws ClusterError when it cannot be made. */
  async join(container: Container, signal: AbortSignal): Promise<Joined | undefined> {
    const { id } = container;
    if (this.#sandboxes.has(id)) await this.leave(id);
    while (this.#ended.has(id)) await this.#nextPass();
    if (this.#o.local.isAlone(container)) return undefined;
    const local = await this.#o.local.give(container);
    try {
      const joins = await this.#joins.of(container, signal);
      const sandbox = this.#placed(container, joins, local);
      if (joins.some(({ network }) => isEncrypted(network))) this.#wireguard.check();
      await this.#add(sandbox);
      const hasNames = this.#names.place !== undefined && asksNames(sandbox);
      return {
        path: this.#store.fileOf(id),
        hosts: hostsOf(container, sandbox),
        nameserver: hasNames ? containerNameServer : undefined,
        ...(await this.#hostGateway(sandbox)),
      };
    } catch (error) {
      await this.leave(id);
      throw error;
    }
  }

  /** The node's end of the link between it and its containers, where the container has a way out to it. */
  async #hostGateway({ bridges, gateway }: Sandbox): Promise<Pick<Joined, "hostGateway">> {
    const isOutward = gateway?.outward === true || bridges.some((place) => place.gateway !== "");
    if (!isOutward) return {};
    const address = this.#o.cluster.current().self?.address ?? "";
    return { hostGateway: (await this.#kernel.facts(address, false)).uplink.host };
  }

  /** Takes over a container that runs already. */
  async adopted(container: Container): Promise<void> {
    this.#unclaimed.delete(container.id);
  }

  /** Before a task is told to stop: it is out of the balance, and its open connections have had time. */
  drain(container: Container, signal: AbortSignal): Promise<void> {
    const { attachments, cluster, clock } = this.#o;
    const settled = (over: AbortSignal) => attachments.settled(over);
    return drain(container, { cluster: cluster.current(), clock, signal, settled });
  }

  /** After a container's end: its places are free at once, its namespace goes soon. */
  async leave(containerId: string): Promise<void> {
    this.#unclaimed.delete(containerId);
    const sandbox = this.#sandboxes.get(containerId);
    await this.#o.local.release(containerId);
    if (sandbox === undefined) return;
    this.#members.set(containerId, []);
    this.#sandboxes.delete(containerId);
    this.#ended.add(containerId);
    this.#store.delete(containerId);
    if (sandbox.gateway !== undefined) this.#pool.free(sandbox.gateway.address);
    if (sandbox.taskId === "" && sandbox.overlays.length > 0) {
      void this.#joins.leave(containerId, "", {
        isBack: () => this.#sandboxes.has(containerId),
        signal: this.#stopping.signal,
      });
    }
    this.#kick();
  }

  /** File that will keep the namespace of a container; undefined for one without networks. */
  readonly fileOf = (container: Pick<Container, "id" | "config">): string | undefined =>
    this.#o.local.isAlone(container) ? undefined : this.#store.fileOf(container.id);

  /** File of a container's namespace; undefined while it has none. */
  sandboxOf(containerId: string): string | undefined {
    return this.#sandboxes.has(containerId) ? this.#store.fileOf(containerId) : undefined;
  }

  /** What the networks of the node ask of the data path. */
  #plumbing(): Plumbing {
    return {
      changed: (container) => this.#changed(container),
      servicePorts: () => servicePorts(this.#o.cluster.current()),
      swarmPlacesOf: (id) => {
        const sandbox = this.#sandboxes.get(id);
        if (sandbox === undefined) return undefined;
        const places = swarmPlaces(sandbox, this.#o.cluster.current());
        return { sandbox: this.#store.fileOf(id), places };
      },
      containersInSwarm: (networkId) =>
        [...this.#sandboxes.values()]
          .filter(({ overlays }) => overlays.some((place) => place.networkId === networkId))
          .map(({ id }) => id),
      swarmNetworks: () => [...this.#o.cluster.current().networks.values()],
    };
  }

  /** A running container is in other networks of the node than before. */
  async #changed(container: Container): Promise<void> {
    const before = this.#sandboxes.get(container.id);
    if (before === undefined) return;
    const local = await this.#o.local.give(container);
    const joins = await this.#joins.of(container, AbortSignal.timeout(networkWaitMs));
    const give = before.gateway;
    const next = this.#placed(container, joins, local, give?.address);
    try {
      await this.#add(next);
    } catch (error) {
      this.#sandboxes.set(before.id, before);
      this.#store.save(before);
      this.#freeGateway(next, before);
      this.#kick();
      throw error;
    }
    this.#freeGateway(before, next);
    for (const { networkId } of before.overlays) {
      if (next.overlays.some((place) => place.networkId === networkId)) continue;
      void this.#joins.leave(container.id, networkId, {
        isBack: () =>
          this.#sandboxes
            .get(container.id)
            ?.overlays.some((place) => place.networkId === networkId) === true,
        signal: this.#stopping.signal,
      });
    }
  }

  /** The address towards the gateway that a container had, and has no more. */
  #freeGateway({ gateway: had }: Sandbox, { gateway: has }: Sandbox): void {
    if (had !== undefined && had.address !== has?.address) this.#pool.free(had.address);
  }

  readonly #fileOf = (space: string): string | undefined => {
    if (space === hostSpace) return this.#o.host;
    return space === swarmSpace ? this.swarmFile : this.#store.fileOf(space);
  };

  #placed(
    container: Container,
    joins: readonly SwarmJoin[],
    local: ContainerPlaces,
    address?: string,
  ): Sandbox {
    return sandboxOf({
      container,
      joins,
      local,
      localNetworks: this.#o.local.list(),
      give: () => address ?? this.#pool.give(),
    });
  }

  /** @throws ClusterError unavailable when the kernel or the programs refuse. */
  async #add(sandbox: Sandbox): Promise<void> {
    const { id } = sandbox;
    this.#sandboxes.set(id, sandbox);
    this.#store.save(sandbox);
    const { error, failures } = await this.#nextPass();
    const own = failures.find(({ owner }) => owner === id) ?? failures.find(({ owner }) => !owner);
    if (error === undefined && own === undefined) {
      const ids = sandbox.overlays.map(({ networkId }) => networkId);
      return this.#members.set(id, ids);
    }
    const why = error === undefined ? `${own?.line}: ${own?.error}` : errorText(error);
    throw new ClusterError("unavailable", `cannot make the network of the container: ${why}`);
  }

  #kick(): void {
    this.#isKicked = true;
    this.#wake();
  }

  /** Resolves once the kernel is as the cluster's state asks for now. @throws what keeps it from that. */
  async #settled(): Promise<void> {
    if (!this.#isKicked && !this.#isPassing && this.#trouble === "") return;
    const { error } = await this.#nextPass();
    if (error !== undefined) throw error;
  }

  /** Resolves with the outcome of a pass that begins after this. */
  #nextPass(): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#kick();
    });
  }

  #tell(outcome: Outcome, waiting = this.#waiting): void {
    if (waiting === this.#waiting) this.#waiting = [];
    for (const tell of waiting) tell(outcome);
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#isKicked || signal.aborted || ms <= 0) return;
    const over = new AbortController();
    this.#wake = () => over.abort();
    await this.#o.clock.sleep(ms, over.signal).catch(() => {
      // Woken.
    });
    this.#wake = () => undefined;
  }

  #idleLeftMs(now: number): number {
    if (this.#idleSince === undefined || !this.#isUp) return Infinity;
    return Math.max(1, this.#idleSince + networkLingerMs - now);
  }

  /** One pass, with its outcome told. @returns Whether all is as it should be. */
  async #passAll(): Promise<boolean> {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#isPassing = true;
    try {
      const failures = await this.#pass();
      this.#trouble = failures.map(({ line, error }) => `${line}: ${error}`)[0] ?? "";
      for (const { line, error, space } of failures.slice(0, 5)) {
        this.#o.log.warn("network not as it should be", { space, line, err: error });
      }
      this.#tell({ error: undefined, failures }, waiting);
      return failures.length === 0;
    } catch (error) {
      this.#applied = undefined;
      this.#trouble = errorText(error);
      this.#warn(error);
      this.#tell({ error, failures: [] }, waiting);
      return false;
    } finally {
      this.#isPassing = false;
    }
  }

  #warn(error: unknown): void {
    this.#o.log.warn("network not as it should be", { err: errorText(error) });
  }

  async #pass(): Promise<Failure[]> {
    const input = await this.#inputNow();
    this.#input = input;
    const wanted = plan(input);
    if (wanted.size === 0) {
      await this.#rules.closePorts();
      await this.#idle();
      return [];
    }
    this.#idleSince = undefined;
    await this.#settings.need();
    await this.#ensureNamespaces(wanted);
    // Before there is a device for them, nobody's frames may come in.
    await this.#rules.guard(input);
    if (this.#applied === undefined) await this.#rules.check(input);
    const before = this.#applied ?? (await this.#kernel.look(wanted, this.#mayClean));
    const steps = diff(before, wanted, this.#fileOf);
    const failures = isNothing(steps) ? [] : await apply(steps, this.#fileOf, this.#thread);
    for (const { owner, space } of failures) this.#kernel.distrust(owner ?? space);
    this.#isUp = true;
    this.#names.setContainers(input.sandboxes, this.#o.local.list());
    this.#names.start();
    this.#applied = failures.length === 0 ? wanted : undefined;
    for (const [owner, error] of await this.#rules.apply(input)) {
      failures.push({ owner, space: owner ?? "", line: "rules", error: errorText(error) });
    }
    await this.#kernel.shorten(wanted, steps);
    await this.#removeEnded();
    return failures;
  }

  async #inputNow(): Promise<RulesInput> {
    const { cluster, local, instance } = this.#o;
    const state = cluster.current();
    const sandboxes = [...this.#sandboxes.values()];
    const known = await this.#kernel.facts(state.self?.address ?? "", this.#applied === undefined);
    const { secure, isNew } = await this.#tunnel.place(state, sandboxes, known.underlay.mtu);
    if (isNew) this.#applied = undefined;
    return {
      instance,
      ...known,
      secure,
      cluster: state,
      sandboxes,
      ...localInput(local.list(), sandboxes, known.underlay.mtu),
      bound: new Set([...local.ports()].flatMap(([id, ports]) => (ports.length > 0 ? [id] : []))),
      ports: local.ports(),
      dns: this.#names.place,
    };
  }

  /** Namespaces that are to be there and are not; what was in them has to be made anew. */
  async #ensureNamespaces(wanted: Plan): Promise<void> {
    for (const space of wanted.keys()) {
      const file = this.#fileOf(space);
      if (file === undefined || isNamespace(file)) continue;
      await makeNamespace(file);
      if (space === swarmSpace) {
        this.#rules.forgetSwarm();
        await this.#names.stop();
      } else this.#rules.forget(space);
      this.#kernel.distrust(space);
      // The other end of what was in it went with it.
      if (space === swarmSpace || this.#applied?.has(space) === true) this.#applied = undefined;
    }
  }

  async #removeEnded(): Promise<void> {
    for (const id of [...this.#ended]) {
      if (this.#sandboxes.has(id)) continue;
      this.#rules.forget(id);
      await removeNamespace(this.#store.fileOf(id));
      this.#ended.delete(id);
    }
  }

  /** Nothing needs the data path: it goes, after a while in which the next container often comes. */
  async #idle(): Promise<void> {
    const now = this.#o.clock.monotonic();
    this.#idleSince ??= now;
    this.#isUp ||= isNamespace(this.swarmFile);
    await this.#removeEnded();
    if (!this.#mayClean || now - this.#idleSince < networkLingerMs) return;
    await this.#teardown();
  }

  /** Removes everything of ours, and nothing else. */
  async #teardown(): Promise<void> {
    this.#isUp = false;
    this.#applied = undefined;
    await this.#removeEnded();
    await this.#names.stop();
    await this.#wireguard.remove();
    await this.#rules.remove(this.#o.instance);
    const shared = await this.#kernel.remove();
    await removeNamespace(this.swarmFile);
    await this.#settings.release(shared);
    try {
      rmdirSync(this.#o.folder);
    } catch {
      // Never made, or something in it is not ours.
    }
  }
}

/** What a pass came to. */
interface Outcome {
  readonly error: unknown;
  readonly failures: readonly Failure[];
}

type Waiter = (outcome: Outcome) => void;
