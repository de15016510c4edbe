/**
 * The cluster's data path as this node was last told it: takes the messages of the session, tells listeners what changed,
 * and remembers it, so that a node that starts while no manager can be reached gives its tasks their networks.
 *
 * A full set replaces everything at once when its last piece is here; until then, and while no manager says anything, what
 * was known goes on to hold.
 */
import { NetworkUpdate } from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import { type ClusterState, emptyClusterState } from "./cluster-state.ts";
import {
  applyUpdate,
  type Changed,
  type Entries,
  entriesOf,
  isEmptyChange,
  replaceAll,
  type StateChange,
  stateOfEntries,
} from "./state-change.ts";

/** Where the state is remembered: small entries by key. */
export interface NetworkMemory {
  load(): Promise<Entries>;
  /** All or nothing; undefined removes an entry. */
  write(changes: ReadonlyMap<string, Uint8Array | undefined>): Promise<void>;
}

/** What the agent tells the network half of its node. */
export interface NetworkPort {
  /** The agent runs, as this node, and nothing of its tasks has begun yet. Never rejects. */
  nodeIs(nodeId: string, memory: NetworkMemory): Promise<void>;
  /** A new session: its messages begin with a full set. */
  sessionBegan(): void;
  /** Takes one message, in order. @returns False when one before it was missed: the full set has to be asked for. */
  take(update: NetworkUpdate): boolean;
  /** Whether nothing of what was said is missing. */
  isWhole(): boolean;
  /** Resolves once the kernel holds what was taken. @throws Error when it cannot be made so just now. */
  settled(): Promise<void>;
  /** The agent stops: what is not written yet is. Networks stay as they are. Never rejects. */
  rest(): Promise<void>;
  /** The node is in no cluster any more, and nothing of its tasks is left. */
  left(): void;
}

/** Told after each change, with the state it led to. */
export type StateListener = (state: ClusterState, change: StateChange) => void;

/** Pause after a write that failed, milliseconds. */
const writeRetryMs = 10_000;

/** The state of one node; as long-lived as the daemon. */
export class NetworkState implements NetworkPort {
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #listeners = new Set<StateListener>();
  #state: ClusterState = emptyClusterState;
  #nodeId = "";
  /** Number of the next message; 0 while a full set has to come first. */
  #next = 0;
  /** Pieces of the full set that is coming in. */
  #pieces: NetworkUpdate[] = [];
  /** Not written yet. */
  #unwritten = new Map<string, Uint8Array | undefined>();
  #memory: NetworkMemory | undefined;
  #stop = new AbortController();
  #writing: Promise<void> | undefined;
  #settle: () => Promise<void> = async () => undefined;
  #tellKnown: () => void = () => undefined;
  /**
   * Resolves once it is known what the node takes part in, be it nothing. What an earlier life of the daemon left in the kernel
   * is not to be taken for wrong before that.
   */
  readonly known = new Promise<void>((resolve) => {
    this.#tellKnown = resolve;
  });

  constructor(tools: { readonly clock: Clock; readonly log: Log }) {
    this.#tools = tools;
  }

  /** As it is now. */
  current(): ClusterState {
    return this.#state;
  }

  /** Calls a listener after each change, until the returned function is called. */
  listen(listener: StateListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Says who makes the kernel what the state asks for: resolves once it is what was asked for at the call. */
  settledBy(settle: () => Promise<void>): void {
    this.#settle = settle;
  }

  settled(): Promise<void> {
    return this.#settle();
  }

  isWhole(): boolean {
    return this.#next > 0 && this.#pieces.length === 0;
  }

  async nodeIs(nodeId: string, memory: NetworkMemory): Promise<void> {
    this.#nodeId = nodeId;
    this.#memory = memory;
    this.#stop = new AbortController();
    this.sessionBegan();
    try {
      const remembered = stateOfEntries(await memory.load());
      this.#enter(replaceAll(this.#state, remembered, nodeId));
    } catch (error) {
      this.#tools.log.warn("networks are not remembered", { err: errorText(error) });
    }
    this.#tellKnown();
  }

  sessionBegan(): void {
    this.#next = 0;
    this.#pieces = [];
  }

  take(message: NetworkUpdate): boolean {
    const update = unpacked(message);
    const begins = update.full && update.first;
    const isInTurn = update.number === this.#next && update.full === this.#pieces.length > 0;
    if (!begins && !isInTurn) {
      // Asked for once: what comes before the full set is of no use.
      const isAskedFor = this.#next === 0;
      this.sessionBegan();
      return isAskedFor;
    }
    this.#next = update.number + 1;
    if (begins) this.#pieces = [];
    if (!update.full) this.#learn(applyUpdate(this.#state, update, this.#nodeId));
    else this.#takePiece(update);
    return true;
  }

  async rest(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
    if (this.#unwritten.size > 0) await this.#writeOnce();
    this.#memory = undefined;
    this.#unwritten.clear();
  }

  left(): void {
    // It is in another one already.
    if (this.#memory !== undefined) return;
    this.#nodeId = "";
    this.sessionBegan();
    this.#enter(replaceAll(this.#state, emptyClusterState, ""));
    this.#tellKnown();
  }

  #takePiece(piece: NetworkUpdate): void {
    this.#pieces.push(piece);
    if (!piece.last) return;
    const pieces = this.#pieces;
    this.#pieces = [];
    let whole = emptyClusterState;
    for (const one of pieces) whole = applyUpdate(whole, one, this.#nodeId).state;
    this.#learn(replaceAll(this.#state, whole, this.#nodeId));
  }

  #learn(changed: Changed): void {
    if (!isEmptyChange(changed.change)) this.#remember(changed);
    this.#enter(changed);
  }

  #enter({ state, change }: Changed): void {
    this.#state = state;
    if (isEmptyChange(change)) return;
    for (const listener of this.#listeners) listener(state, change);
  }

  #remember({ state, change }: Changed): void {
    for (const [key, value] of entriesOf(state, change)) this.#unwritten.set(key, value);
    this.#writing ??= this.#write();
  }

  /**
   * Writes what there is to write until there is nothing, or the agent stops. At once, and together what comes meanwhile:
   * names and rules go by the change already, and the power may fail next.
   */
  async #write(): Promise<void> {
    const { clock } = this.#tools;
    while (this.#unwritten.size > 0) {
      if (await this.#writeOnce()) continue;
      await clock.sleep(writeRetryMs, this.#stop.signal).catch(() => {
        // Stopped: `rest` writes what is left.
      });
      if (this.#stop.signal.aborted) break;
    }
    // With the last look at what there is: what comes next begins another.
    this.#writing = undefined;
  }

  async #writeOnce(): Promise<boolean> {
    const changes = this.#unwritten;
    this.#unwritten = new Map();
    try {
      await this.#memory?.write(changes);
      return true;
    } catch (error) {
      // The node works on from memory; after a restart the managers say it again.
      this.#tools.log.warn("networks not stored", { err: errorText(error) });
      this.#unwritten = new Map([...changes, ...this.#unwritten]);
      return false;
    }
  }
}

/** The update with what it carries encoded. */
function unpacked(update: NetworkUpdate): NetworkUpdate {
  if (update.shared.length === 0) return update;
  const { peers, networks, services, endpoints } = NetworkUpdate.decode(update.shared);
  return {
    ...update,
    peers: [...peers, ...update.peers],
    networks: [...networks, ...update.networks],
    services: [...services, ...update.services],
    endpoints: [...endpoints, ...update.endpoints],
    shared: new Uint8Array(0),
  };
}
