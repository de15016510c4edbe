/**
 * How a member that lost its log comes back, and what the members know of each other's losses meanwhile.
 *
 * In the Raft worker, part of `worker-session.ts`. A member that was begun anew asks the others, again and again, to be put
 * in the place of its old self (`rejoin.ts`), until it is in the group or learns that it was removed. Whoever is asked and
 * whoever answers says whether it lost its own log and how far its state reaches, so that all of them see when the group
 * can never have a leader again (`standstill.ts`).
 */
import type { RaftMember, RaftRejoinRequest } from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText, hasCode } from "../../src/common/errors/cluster-error.ts";
import { diskFullRetryMs, standstillMs } from "../../src/common/limits/limits.ts";
import type { Log } from "../../src/common/log/log.ts";
import { type KnownManager, standstillText } from "./standstill.ts";

/** What the comeback sees of its session. */
export interface ComebackContext {
  readonly clusterId: string;
  self(): RaftMember;
  /** The id this member had before it lost its log; 0 once the group has replaced it, or when it lost nothing. */
  replaces(): number;
  /** Whether this member is in its own table of members, as of what the group has decided. */
  isIn(): boolean;
  /** Members as stored, with the addresses to try. */
  members(): readonly RaftMember[];
  hasLeader(): boolean;
  /** How far the state of this member reaches. */
  state(): number;
  ask(member: RaftMember, request: RaftRejoinRequest): Promise<void>;
  /** The group knows the new id: the old one may be forgotten. */
  end(): Promise<void>;
  /** The group does not know this node any more. */
  removed(): void;
  /** The group stands still for good, or goes on after all. */
  standstill(reason: string | undefined): void;
  failed(error: unknown): void;
  readonly log: Log;
}

/** What another member said of itself, and when, in milliseconds of a steady clock. */
interface Told {
  readonly lost: boolean;
  readonly state: number;
  readonly atMs: number;
}

/** What was said counts for as long as several tries take. */
const toldLifeMs = 30_000;

/** The comeback of one session's member. */
export class Comeback {
  readonly #context: ComebackContext;
  readonly #told = new Map<string, Told>();
  /** Leaders others named that this member's table does not have. */
  readonly #hints = new Map<string, RaftMember>();
  #timer: NodeJS.Timeout | undefined;
  #troubleSinceMs: number | undefined;
  #reason: string | undefined;
  #isAsking = false;
  #stopped = false;
  #isRemoved = false;

  constructor(context: ComebackContext) {
    this.#context = context;
  }

  /** Begins to ask, when there is something to ask for; at once after each new beginning. */
  begin(): void {
    clearTimeout(this.#timer);
    if (this.#context.replaces() === 0 || this.#isAsking) return;
    this.#isAsking = true;
    this.#attempt()
      .catch((error: unknown) => this.#context.failed(error))
      .finally(() => {
        this.#isAsking = false;
      });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Another member lost its log and asks to be taken in anew. */
  heard({ member, stateIndex }: RaftRejoinRequest): void {
    if (member === undefined) return;
    this.#told.set(member.nodeId, { lost: true, state: stateIndex, atMs: performance.now() });
  }

  /** The refusal of a member that does not lead: says what it is itself, and who leads. */
  refusal(leader: RaftMember | undefined): ClusterError {
    const { replaces, state } = this.#context;
    return new ClusterError("unavailable", "this manager does not lead the group", {
      fields: {
        lost: replaces() !== 0,
        state: state(),
        ...(leader && {
          leaderId: leader.raftId,
          leaderNodeId: leader.nodeId,
          leaderAddress: leader.address,
        }),
      },
    });
  }

  /** Looks whether the group can go on; called about once a second. */
  look(): void {
    const now = performance.now();
    const { hasLeader, standstill, log } = this.#context;
    for (const [id, { atMs }] of this.#told) if (now - atMs > toldLifeMs) this.#told.delete(id);
    if (hasLeader() || this.#isRemoved) this.#troubleSinceMs = undefined;
    else this.#troubleSinceMs ??= now;
    const isLasting =
      this.#troubleSinceMs !== undefined && now - this.#troubleSinceMs >= standstillMs;
    const reason = isLasting
      ? standstillText(this.#managers(), this.#context.self().nodeId)
      : undefined;
    if (reason === this.#reason) return;
    if (reason === undefined) log.info("the managers may choose a leader again");
    else log.error("the managers stand still", { err: reason });
    this.#reason = reason;
    standstill(reason);
  }

  #managers(): KnownManager[] {
    const { self, members, replaces, state } = this.#context;
    const { nodeId, address } = self();
    const known = new Map<string, KnownManager>();
    for (const member of members()) {
      const told = this.#told.get(member.nodeId);
      known.set(member.nodeId, {
        nodeId: member.nodeId,
        address: member.address,
        lost: told?.lost,
        state: told?.state ?? 0,
      });
    }
    known.set(nodeId, { nodeId, address, lost: replaces() !== 0, state: state() });
    return [...known.values()];
  }

  async #attempt(): Promise<void> {
    if (this.#stopped || this.#isRemoved) return;
    const { isIn, end, members, self, log } = this.#context;
    if (isIn()) {
      await end();
      log.info("this manager is in its group again", { "raft.id": self().raftId });
      return;
    }
    const others = new Map([...this.#hints, ...members().map((m) => [m.nodeId, m] as const)]);
    others.delete(self().nodeId);
    for (const member of others.values()) {
      if ((await this.#ask(member)) || this.#stopped) break;
    }
    if (this.#stopped || this.#isRemoved) return;
    this.#timer = setTimeout(() => this.begin(), diskFullRetryMs);
  }

  /** Whether no other has to be asked for now. */
  async #ask(member: RaftMember): Promise<boolean> {
    const { clusterId, self, replaces, state, ask, removed, log } = this.#context;
    try {
      await ask(member, {
        clusterId,
        member: self(),
        oldRaftId: replaces(),
        stateIndex: state(),
      });
      return true;
    } catch (error) {
      log.debug("not taken in anew yet", { peer: member.nodeId, err: errorText(error) });
      if (!(error instanceof ClusterError)) return false;
      if (hasCode(error, "not-found") && error.fields["removed"] === true) {
        this.#isRemoved = true;
        removed();
        return true;
      }
      this.#learn(member, error.fields);
      return false;
    }
  }

  #learn(member: RaftMember, fields: ClusterError["fields"]): void {
    const { lost, state, leaderId, leaderNodeId, leaderAddress } = fields;
    if (typeof lost === "boolean" && typeof state === "number") {
      this.#told.set(member.nodeId, { lost, state, atMs: performance.now() });
    }
    if (
      typeof leaderId === "number" &&
      typeof leaderNodeId === "string" &&
      typeof leaderAddress === "string"
    ) {
      this.#hints.clear();
      this.#hints.set(leaderNodeId, {
        raftId: leaderId,
        nodeId: leaderNodeId,
        address: leaderAddress,
      });
    }
  }
}
