/**
 * What the parts of one history share: time, randomness, machines, network, checks.
 */
import type { ConfState, Entry } from "../../manager/raft/core/types.ts";
import type { Change } from "../../manager/state/change.ts";
import type { Config } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { type Random, seededRandom } from "../../src/common/random/random.ts";
import { configurationText, isIn } from "./check/configuration.ts";
import { Safety } from "./check/safety.ts";
import { Violation } from "./check/violation.ts";
import { FaultCounts } from "./faults.ts";
import { Machine, type Process, type Surroundings } from "./machine.ts";
import { effectText, type MainSide, registerValue } from "./main-side.ts";
import { Network } from "./network.ts";
import { Observer } from "./observer.ts";
import { between, drawParameters, type Parameters } from "./parameters.ts";
import { EventQueue, milliseconds } from "./queue.ts";

/** Machines beyond the first members, which may join. */
const spareMachines = 3;

/** A member that leads, as it believes. */
export interface Leader {
  readonly machine: Machine;
  readonly process: Process;
}

/** Everything of one history. */
export class World implements Surroundings {
  readonly queue = new EventQueue();
  readonly faults = new FaultCounts();
  readonly safety = new Safety();
  readonly observer = new Observer(this.safety);
  readonly parameters: Parameters;
  readonly network: Network;
  readonly machines: Machine[];
  /** The first property that did not hold. */
  violation: Violation | undefined;
  /** Requests to change the members that have no answer yet. */
  openRequests = 0;
  /** Changes by the index that made them, as first applied anywhere. */
  readonly changes = new Map<number, readonly Change[]>();
  /** Values that have taken effect; each is written by one operation only. */
  readonly #effective = new Set<number>();
  readonly #seed: number;
  readonly #random: Random;
  #nextRaftId = 1;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = this.randomFor("world");
    this.parameters = drawParameters(this.randomFor("parameters"));
    const { queue, parameters, faults } = this;
    this.network = new Network({ queue, random: this.randomFor("network"), parameters, faults });
    const count = parameters.members + spareMachines;
    this.safety.onConfiguration = (before, after) => this.#countChanges(before, after);
    this.machines = Array.from({ length: count }, (_, number) => new Machine(this, number));
  }

  /** Randomness of one part, so that a change in one does not shift the draws of the others. */
  randomFor(part: string): Random {
    let hash = 2_166_136_261;
    for (const character of part) {
      hash = Math.imul(hash ^ character.charCodeAt(0), 16_777_619) >>> 0;
    }
    return seededRandom(this.#seed * 4_096 + (hash % 4_096) + 2 ** 32 * (hash >>> 12));
  }

  /** Notes what a change did to the members; the second half of a joint change has been counted with the first. */
  #countChanges(before: ConfState, after: ConfState): void {
    const { faults } = this;
    const was = (id: number) => before.voters.includes(id);
    const is = (id: number) => after.voters.includes(id);
    for (const id of after.voters) if (!was(id)) faults.struck("learner promoted");
    for (const id of after.learners) {
      if (!before.learners.includes(id) && !before.learnersNext.includes(id)) {
        faults.struck("learner added");
      }
    }
    for (const id of after.learnersNext) if (!is(id)) faults.struck("voter demoted");
    const gone = before.voters.filter((id) => !isIn({ ...after, votersOutgoing: [] }, id));
    const joined = after.learners.some((id) => this.machineOf(id)?.replaces === gone[0]);
    for (const _ of gone) faults.struck(joined ? "voter replaced" : "voter removed");
  }

  newRaftId(): number {
    return this.#nextRaftId++;
  }

  /** Forms the group of the first machines. */
  bootstrap(): void {
    const founders = this.machines.slice(0, this.parameters.members);
    const ids = founders.map(() => this.newRaftId());
    const conf: ConfState = {
      voters: ids,
      learners: [],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    this.safety.bootstrapped(conf, { index: 1, term: 1 });
    founders.forEach((machine, at) => {
      machine.raftId = ids[at] ?? 0;
      machine.wanted = true;
    });
    const members = founders.map((machine) => machine.member);
    for (const machine of founders) {
      machine.bootstrap(machine.raftId, conf, members);
      machine.start();
    }
  }

  machineOf(raftId: number): Machine | undefined {
    return this.machines.find((machine) => machine.raftId === raftId);
  }

  /** Whether some machine still has the disk of a member. */
  isAlive(raftId: number): boolean {
    return this.machineOf(raftId)?.isDoomed === false;
  }

  /**
   * Whether a removed member is needed by nobody any more: whoever has not stored its removal may need its vote.
   */
  isForgotten(raftId: number): boolean {
    if (isIn(this.safety.configuration, raftId)) return false;
    return this.machines.every((machine) => {
      const { confState } = machine.disk.log.config;
      return machine.raftId === raftId || confState === undefined || !isIn(confState, raftId);
    });
  }

  /** The leader of the highest term among the running members. */
  leader(): Leader | undefined {
    let found: Leader | undefined;
    let highest = 0;
    for (const machine of this.machines) {
      const { process } = machine;
      if (process === undefined || machine.isPaused) continue;
      const { role, term } = process.node.leadership;
      if (role !== "leader" || term <= highest) continue;
      highest = term;
      found = { machine, process };
    }
    return found;
  }

  /** The machine has lost what its member had promised to keep: it comes back as another member. */
  startOver(machine: Machine, isEmpty = false): void {
    const old = machine.raftId;
    // Of the disk only the log is lost, or all of it.
    machine.begin(this.newRaftId(), old, isEmpty ? undefined : machine.disk.checkpoint);
  }

  /** A running member found out that its log is shorter than others rely on. */
  lost(machine: Machine): void {
    machine.crash();
    this.startOver(machine);
    machine.start();
  }

  /** A process ended itself. */
  failed(machine: Machine, error: unknown): void {
    if (error instanceof Violation) this.violate(error);
    else if (!(error instanceof ClusterError)) {
      const text = error instanceof Error ? error.message : String(error);
      this.violate(
        new Violation("assertion", `member ${machine.raftId}: ${text}`, { cause: error }),
      );
    } else {
      machine.crash();
      this.restartLater(machine);
    }
  }

  /** Starts the process again after a while. */
  restartLater(machine: Machine): void {
    const pause = milliseconds(between(this.#random, 50, 2_500));
    this.queue.after(Math.round(pause), () => {
      machine.start();
    });
  }

  /** The group as it is now, for a person who looks into a failure. */
  describe(): string {
    const lines = [`configuration: ${configurationText(this.safety.configuration)}`];
    for (const machine of this.machines) {
      const { number, raftId, replaces, wanted, process } = machine;
      const status = process?.node.status();
      const state =
        status === undefined
          ? "down"
          : `${status.role} of term ${status.term}, leader ${status.leader}, log ${status.firstIndex} to ${status.lastIndex}, commit ${status.commit}, applied ${status.applied}, state ${process?.main.state.index}, ${configurationText(status.confState)}`;
      lines.push(`machine ${number}: member ${raftId} for ${replaces}, wanted ${wanted}: ${state}`);
      for (const [id, progress] of status?.progress ?? []) {
        lines.push(`  ${id}: ${JSON.stringify(progress)}`);
      }
    }
    return lines.join("\n");
  }

  violate(violation: Violation): void {
    this.violation ??= violation;
  }

  /** A member's state machine is given an entry. */
  applied(raftId: number, entry: Entry, main: MainSide): void {
    const applied = main.apply(entry);
    this.safety.applied(raftId, entry, effectText(applied));
    if (this.changes.has(entry.index)) return;
    this.changes.set(entry.index, applied.changes);
    for (const { table, object, kind } of applied.changes) {
      if (table !== "config" || kind !== "update") continue;
      const value = registerValue(object as Config);
      if (this.#effective.has(value)) {
        throw new Violation("exactly once", `value ${value} was written twice, at ${entry.index}`);
      }
      this.#effective.add(value);
    }
  }
}
