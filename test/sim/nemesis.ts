/**
 * Whoever makes things go wrong: at moments drawn from the seed it picks a fault, a victim and for how long.
 */
import { RaftConfChange } from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import type { Random } from "../../src/common/random/random.ts";
import { hasQuorum, isIn, sameConfiguration } from "./check/configuration.ts";
import type { Fault } from "./faults.ts";
import type { Machine } from "./machine.ts";
import { between, pick } from "./parameters.ts";
import { milliseconds } from "./queue.ts";
import { lossOf } from "./sim-storage.ts";
import type { World } from "./world.ts";

/** Strokes and their weights. */
const strokes: readonly (readonly [Stroke, number])[] = [
  ["crash", 10],
  ["crash of the leader", 10],
  ["crash of all", 3],
  ["partition", 8],
  ["one-way partition", 6],
  ["bridge partition", 5],
  ["lone leader", 6],
  ["pause", 8],
  ["slow disk", 5],
  ["full disk", 4],
  ["failing sync", 4],
  ["bit flip", 2],
  ["lost tail", 3],
  ["disk emptied", 2],
  ["clock rate", 4],
  ["clock jump", 5],
  ["leader transfer", 7],
  ["forgotten leader", 3],
  ["stale candidate", 4],
  ["membership", 10],
  ["raw change", 5],
  ["slow main thread", 3],
];

type Stroke = Fault | "membership" | "raw change" | "slow main thread" | "lone leader";

/** Makes faults until it is stopped. */
export class Nemesis {
  readonly #world: World;
  readonly #random: Random;
  readonly #hand = new Map<Stroke, () => void>();
  #stopped = false;
  #partitions = 0;

  constructor(world: World) {
    this.#world = world;
    this.#random = world.randomFor("nemesis");
    this.#teach();
  }

  start(): void {
    const { queue, parameters } = this.#world;
    const pause = -Math.log(1 - this.#random.float()) * parameters.nemesisPeriod;
    queue.after(Math.round(pause) + 1, () => {
      if (this.#stopped) return;
      this.#strike();
      this.start();
    });
  }

  /** Makes no more faults and takes back those that last. */
  stop(): void {
    this.#stopped = true;
    this.#world.network.heal();
    for (const machine of this.#world.machines) {
      machine.disk.slowness = 1;
      machine.disk.failsNext = false;
      machine.mainSlowness = 1;
      machine.clockRate = 1;
      machine.disk.spaceReturned();
      machine.resume();
      machine.start();
    }
  }

  #strike(): void {
    const total = strokes.reduce((sum, [, weight]) => sum + weight, 0);
    let draw = this.#random.float() * total;
    for (const [stroke, weight] of strokes) {
      draw -= weight;
      if (draw >= 0) continue;
      this.#hand.get(stroke)?.();
      return;
    }
  }

  #teach(): void {
    const hand = this.#hand;
    hand.set("crash", () => this.#crash(this.#running(), "crash"));
    hand.set("crash of the leader", () =>
      this.#crash(this.#world.leader()?.machine, "crash of the leader"),
    );
    hand.set("crash of all", () => {
      this.#struck("crash of all");
      for (const machine of this.#world.machines) this.#crash(machine, "crash");
    });
    hand.set("partition", () => this.#partition());
    hand.set("one-way partition", () => this.#oneWay());
    hand.set("bridge partition", () => this.#bridge());
    hand.set("lone leader", () => this.#loneLeader());
    hand.set("pause", () => this.#pause());
    hand.set("slow disk", () => this.#slowDisk());
    hand.set("full disk", () => this.#fullDisk());
    hand.set("failing sync", () => {
      const machine = this.#running();
      if (machine !== undefined) machine.disk.failsNext = true;
    });
    hand.set("bit flip", () => this.#bitFlip());
    hand.set("lost tail", () => this.#lostTail());
    hand.set("disk emptied", () => this.#emptyDisk());
    hand.set("clock rate", () => {
      const machine = this.#running();
      if (machine === undefined) return;
      this.#struck("clock rate");
      machine.clockRate = between(this.#random, 0.5, 2);
    });
    hand.set("clock jump", () => this.#clockJump());
    hand.set("leader transfer", () => this.#transfer());
    hand.set("forgotten leader", () => this.#onCore("forgotten leader"));
    hand.set("stale candidate", () => this.#onCore("stale candidate"));
    hand.set("membership", () => this.#changeMembers());
    hand.set("raw change", () => this.#rawChange());
    hand.set("slow main thread", () => {
      const machine = this.#running();
      if (machine === undefined) return;
      machine.mainSlowness = 1_000;
      this.#afterMs(300, 3_000, () => {
        machine.mainSlowness = 1;
      });
    });
  }

  #struck(fault: Fault): void {
    this.#world.faults.struck(fault);
  }

  #afterMs(from: number, to: number, run: () => void): void {
    const pause = milliseconds(between(this.#random, from, to));
    this.#world.queue.after(pause, () => {
      if (!this.#stopped) run();
    });
  }

  #running(): Machine | undefined {
    const running = this.#world.machines.filter((machine) => machine.process !== undefined);
    return running.length === 0 ? undefined : pick(this.#random, running);
  }

  #crash(machine: Machine | undefined, fault: "crash" | "crash of the leader"): void {
    if (machine?.process === undefined) return;
    this.#struck(fault);
    machine.crash();
    this.#world.restartLater(machine);
  }

  #mendLater(): void {
    const partition = ++this.#partitions;
    this.#afterMs(300, 4_000, () => {
      if (partition === this.#partitions) this.#world.network.mend();
    });
  }

  #partition(): void {
    const { machines, network } = this.#world;
    this.#struck("partition");
    const side = machines.map(() => this.#random.float() < 0.5);
    for (const a of machines) {
      for (const b of machines) {
        if (side[a.number] !== side[b.number]) network.cut(a.number, b.number);
      }
    }
    this.#mendLater();
  }

  #oneWay(): void {
    const { machines, network } = this.#world;
    const victim = this.#running();
    if (victim === undefined) return;
    this.#struck("one-way partition");
    const inbound = this.#random.float() < 0.5;
    const share = pick(this.#random, [0.5, 1]);
    for (const other of machines) {
      if (other === victim || this.#random.float() >= share) continue;
      if (inbound) network.cut(other.number, victim.number);
      else network.cut(victim.number, other.number);
    }
    this.#mendLater();
  }

  /** Two halves that only one member can speak to both of. */
  #bridge(): void {
    const { machines, network } = this.#world;
    const bridge = this.#running();
    if (bridge === undefined) return;
    this.#struck("bridge partition");
    const side = machines.map(() => this.#random.float() < 0.5);
    for (const a of machines) {
      for (const b of machines) {
        if (a === bridge || b === bridge || side[a.number] === side[b.number]) continue;
        network.cut(a.number, b.number);
      }
    }
    this.#mendLater();
  }

  #loneLeader(): void {
    const { machines, network } = this.#world;
    const leader = this.#world.leader()?.machine;
    if (leader === undefined) return;
    this.#struck("partition");
    const spared = this.#random.float() < 0.5 ? this.#running() : undefined;
    for (const other of machines) {
      if (other === leader || other === spared) continue;
      network.cut(other.number, leader.number);
      network.cut(leader.number, other.number);
    }
    this.#mendLater();
  }

  #pause(): void {
    const machine = this.#random.float() < 0.5 ? this.#world.leader()?.machine : this.#running();
    if (machine === undefined || machine.isPaused) return;
    this.#struck("pause");
    machine.pause();
    this.#afterMs(100, 4_000, () => machine.resume());
  }

  #slowDisk(): void {
    const machine = this.#running();
    if (machine === undefined) return;
    this.#struck("slow disk");
    machine.disk.slowness = pick(this.#random, [5, 20, 100]);
    this.#afterMs(500, 4_000, () => {
      machine.disk.slowness = 1;
    });
  }

  #fullDisk(): void {
    const machine = this.#running();
    if (machine === undefined) return;
    this.#struck("full disk");
    machine.disk.full = true;
    this.#afterMs(300, 3_000, () => machine.disk.spaceReturned());
  }

  /** Whether the group can go on, and no other disk is lost already, when this machine loses what it stored. */
  #mayLose(machine: Machine): boolean {
    const { safety, machines } = this.#world;
    const conf = safety.configuration;
    // A change that is on its way, such as the promotion of a learner, could make the loss one too many.
    if (safety.hasChangeUnderWay || this.#world.openRequests > 0) return false;
    if (!conf.voters.includes(machine.raftId) || conf.learners.length > 0) return false;
    if (machines.some((one) => !one.wanted && isIn(conf, one.raftId))) return false;
    // Whoever has not heard of the configuration may need a vote that the new one can do without.
    const knows = ({ disk }: Machine) => {
      const { confState } = disk.log.config;
      return confState !== undefined && sameConfiguration(confState, conf);
    };
    if (!machines.every((one) => !isIn(conf, one.raftId) || knows(one))) return false;
    const isThere = (id: number) => this.#world.isAlive(id);
    const ids = [...conf.voters, ...conf.votersOutgoing];
    if (conf.votersOutgoing.length > 0 || !ids.every(isThere)) return false;
    return hasQuorum(conf, (id) => isThere(id) && id !== machine.raftId);
  }

  #bitFlip(): void {
    const machine = this.#running();
    if (machine === undefined || !this.#mayLose(machine)) return;
    this.#struck("bit flip");
    machine.crash();
    machine.isDoomed = true;
    const { log } = machine.disk;
    // Nothing can be read from the damaged record on.
    const entries = log.entries.slice(0, this.#random.int(log.entries.length + 1));
    machine.disk.log = { ...log, entries, damaged: true };
    this.#world.restartLater(machine);
  }

  /** Takes the log back to an earlier state, where the floor file or the checkpoint tells of it. */
  #lostTail(): void {
    const machine = this.#running();
    if (machine === undefined || !this.#mayLose(machine)) return;
    machine.crash();
    const { disk } = machine;
    const whole = disk.log;
    if (disk.image.raftId === whole.raftId) disk.log = disk.image;
    if (lossOf(disk) === undefined) disk.log = whole;
    else {
      this.#struck("lost tail");
      machine.isDoomed = true;
    }
    this.#world.restartLater(machine);
  }

  #emptyDisk(): void {
    const machine = this.#running();
    if (machine === undefined || !this.#mayLose(machine)) return;
    this.#struck("disk emptied");
    machine.crash();
    this.#world.startOver(machine, true);
    this.#world.restartLater(machine);
  }

  #clockJump(): void {
    const machine = this.#running();
    if (machine === undefined) return;
    this.#struck("clock jump");
    machine.clockOffset += Math.round(between(this.#random, -86_400_000, 86_400_000));
    if (!machine.isPaused) machine.jump(1 + this.#random.int(30));
  }

  #transfer(): void {
    const leader = this.#world.leader();
    if (leader === undefined) return;
    this.#struck("leader transfer");
    const { voters } = leader.process.node.membership.confState;
    const to =
      this.#random.float() < 0.7 && voters.length > 0 ? pick(this.#random, voters) : undefined;
    leader.process.node.duties.transferLeadership(to).catch(() => {
      // It may well fail while things go wrong; that it works when they do not is checked at the end.
    });
  }

  #onCore(fault: "forgotten leader" | "stale candidate"): void {
    const machine = this.#running();
    if (machine === undefined || machine.isPaused) return;
    const core = this.#world.observer.core(machine.raftId);
    if (core === undefined) return;
    this.#struck(fault);
    if (fault === "forgotten leader") core.forgetLeader();
    else core.campaign();
    machine.process?.node.tick();
  }

  /** Wants one machine more, less, or another one instead. */
  #changeMembers(): void {
    const { machines, parameters } = this.#world;
    const wanted = machines.filter((machine) => machine.wanted);
    const spare = machines.filter((machine) => !machine.wanted);
    const add = spare.length > 0 && (wanted.length <= 3 || this.#random.float() < 0.5);
    if (add) this.#want(pick(this.#random, spare));
    const { voters } = this.#world.safety.configuration;
    if (!voters.every((id) => this.#world.isAlive(id))) return;
    if (!add || (wanted.length > parameters.members && this.#random.float() < 0.5)) {
      const machine = pick(this.#random, wanted);
      machine.wanted = false;
      // Some leave for good once they are out, others stay and think they still belong.
      if (this.#random.float() < 0.5) this.#afterMs(2_000, 6_000, () => this.#retire(machine));
    }
  }

  #want(machine: Machine): void {
    machine.wanted = true;
    if (machine.raftId !== 0) return;
    machine.begin(this.#world.newRaftId(), 0);
    machine.start();
  }

  #retire(machine: Machine): void {
    if (machine.wanted || machine.raftId === 0) return;
    if (!this.#world.isForgotten(machine.raftId)) {
      this.#afterMs(1_000, 2_000, () => this.#retire(machine));
      return;
    }
    machine.crash();
    machine.disk.empty();
    machine.raftId = 0;
  }

  /** A change of the configuration that the driver does not make by itself. */
  #rawChange(): void {
    const leader = this.#world.leader();
    const core = leader && this.#world.observer.core(leader.machine.raftId);
    if (leader === undefined || core === undefined) return;
    const { voters, learners, votersOutgoing, autoLeave } =
      leader.process.node.membership.confState;
    try {
      if (votersOutgoing.length > 0) {
        if (!autoLeave) core.proposeConfChange(new Uint8Array(0));
        return;
      }
      const steps: RaftConfChange["steps"][number][] = [];
      const victim = pick(this.#random, voters);
      const left = voters.filter((id) => id !== victim && this.#world.isAlive(id));
      if (2 * left.length > voters.length) steps.push({ kind: "add-learner", raftId: victim });
      const learner = learners.find((id) => this.#world.isAlive(id));
      if (learner !== undefined) steps.push({ kind: "add-voter", raftId: learner });
      if (steps.length === 0) return;
      const transition = pick(this.#random, ["auto", "joint-implicit", "joint-explicit"] as const);
      const change = RaftConfChange.create({ transition, steps, requestId: 0 });
      core.proposeConfChange(RaftConfChange.encode(change));
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
    } finally {
      leader.process.node.reportUnreachable(0);
    }
  }
}
