/**
 * Brings the group's members to what the history wants: asks the leader, through the driver's own calls, to take in
 * machines that should belong, to replace members that lost their disk, and to remove those that should not.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Random } from "../../src/common/random/random.ts";
import { isIn } from "./check/configuration.ts";
import type { Machine } from "./machine.ts";
import { between } from "./parameters.ts";
import { milliseconds } from "./queue.ts";
import type { Leader, World } from "./world.ts";

/** The one who looks after membership. */
export class Operator {
  readonly #world: World;
  readonly #random: Random;
  #busyUntil = 0;

  constructor(world: World) {
    this.#world = world;
    this.#random = world.randomFor("operator");
  }

  /** Starts to look at the group now and again. */
  start(): void {
    const period = milliseconds(between(this.#random, 100, 400));
    this.#world.queue.after(Math.round(period), () => {
      this.#look();
      this.start();
    });
  }

  /** Whether the group is as wanted. */
  isContent(): boolean {
    const conf = this.#world.safety.configuration;
    if (conf.votersOutgoing.length > 0) return false;
    const { machines } = this.#world;
    if (machines.some((machine) => machine.wanted !== isIn(conf, machine.raftId))) return false;
    return [...conf.voters, ...conf.learners].every(
      (id) => this.#world.machineOf(id) !== undefined,
    );
  }

  #look(): void {
    const { machines, queue } = this.#world;
    for (const machine of machines) this.#renew(machine);
    const leader = this.#world.leader();
    if (leader === undefined || queue.now < this.#busyUntil) return;
    const request = this.#nextRequest(leader);
    if (request === undefined) return;
    // One at a time: the answer says no more than that it is over.
    this.#busyUntil = queue.now + milliseconds(3_000);
    this.#world.openRequests++;
    const over = () => {
      this.#world.openRequests--;
      this.#busyUntil = queue.now;
    };
    request.then(over, over);
  }

  /** A machine whose member was removed can only come back as another one. */
  #renew(machine: Machine): void {
    const { safety } = this.#world;
    if (!machine.wanted || machine.raftId === 0) return;
    if (!safety.wasMember(machine.raftId) || !this.#world.isForgotten(machine.raftId)) return;
    // The change that is on its way may be the one that takes it in again.
    if (this.#world.openRequests > 0 || safety.hasChangeUnderWay) return;
    machine.crash();
    machine.begin(this.#world.newRaftId(), 0);
    machine.start();
  }

  #nextRequest({ machine, process }: Leader): Promise<void> | undefined {
    const { machines } = this.#world;
    const { node } = process;
    const { members, confState } = node.membership;
    if (confState.votersOutgoing.length > 0 && !confState.autoLeave) this.#leaveJoint(machine);
    for (const one of machines) {
      if (!one.wanted || one.process === undefined || members.has(one.raftId)) continue;
      if (!this.#reaches(one, machine)) continue;
      if (members.has(one.replaces)) return node.duties.replaceMember(one.member, one.replaces);
      return node.duties.addMember(one.member);
    }
    for (const id of members.keys()) {
      const owner = this.#world.machineOf(id);
      if (owner?.wanted) continue;
      const comesBack = machines.some((one) => one.wanted && one.replaces === id);
      if (owner === undefined && comesBack) continue;
      return node.duties.removeMember(id);
    }
    return undefined;
  }

  /** Ends a joint phase that does not end by itself. */
  #leaveJoint(machine: Machine): void {
    if (this.#random.float() < 0.7) return;
    try {
      this.#world.observer.core(machine.raftId)?.proposeConfChange(new Uint8Array(0));
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
    }
  }

  #reaches(a: Machine, b: Machine): boolean {
    const { network } = this.#world;
    return network.isOpen(a.number, b.number) && network.isOpen(b.number, a.number);
  }
}
