/**
 * The end of a history: everything is healed, and the group has to come to rest: a leader, all answers, leadership that
 * can be handed over and then stays, replicas that are equal byte for byte, watchers that missed nothing.
 */
import { isIn } from "./check/configuration.ts";
import { Violation } from "./check/violation.ts";
import { watchViolation } from "./check/watching.ts";
import type { Client } from "./client.ts";
import type { Machine, Process } from "./machine.ts";
import { snapshotOf } from "./main-side.ts";
import type { Nemesis } from "./nemesis.ts";
import type { Operator } from "./operator.ts";
import { runUntil, type Stage } from "./stage.ts";
import type { Leader } from "./world.ts";

/** Election times within which there must be a leader, all answers, and the members that are wanted. */
const leaderWithin = 10;
const answersWithin = 30;
const membersWithin = 200;
/** Election times during which a healthy group must keep its leader. */
const stableFor = 4;

/** Brings a history to its end and checks what must hold then. @throws Violation */
export async function finish(
  stage: Stage,
  parts: {
    readonly clients: readonly Client[];
    readonly nemesis: Nemesis;
    readonly operator: Operator;
  },
): Promise<void> {
  const { world } = stage;
  parts.nemesis.stop();
  await within(stage, leaderWithin, "there is no leader after everything was healed", () => {
    return settledLeader(stage) !== undefined;
  });
  for (const client of parts.clients) client.stop();
  await within(stage, answersWithin, "not all proposals were answered", () =>
    parts.clients.every((client) => !client.busy),
  );
  await within(stage, membersWithin, "the members are not those that are wanted", () =>
    parts.operator.isContent(),
  );
  await handOver(stage);
  await stayPut(stage);
  await ignoreTheDeaf(stage);
  await within(stage, leaderWithin, "not all replicas caught up", () =>
    members(stage).every(
      ({ process }) => process?.main.state.index === world.safety.committedIndex,
    ),
  );
  await compareReplicas(stage);
  for (const { process } of members(stage)) {
    if (process !== undefined) await checkWatch(stage, process);
  }
}

function electionTime({ world }: Stage): number {
  return world.parameters.electionTick * world.parameters.tick;
}

async function within(
  stage: Stage,
  elections: number,
  complaint: string,
  done: () => boolean,
): Promise<void> {
  const { queue } = stage.world;
  const end = queue.now + elections * electionTime(stage);
  await runUntil(stage, () => done() || queue.now > end);
  if (done()) return;
  const facts = stage.world.describe();
  throw new Violation("liveness", `${complaint} for ${elections} election times\n${facts}`);
}

/** The leader, once it has committed in its term and applied that. */
function settledLeader({ world }: Stage): Leader | undefined {
  const leader = world.leader();
  if (leader === undefined) return undefined;
  const { node, main } = leader.process;
  return main.state.index >= node.leadership.readyIndex ? leader : undefined;
}

/** Machines that belong to the group. */
function members({ world }: Stage): Machine[] {
  return world.machines.filter((machine) => isIn(world.safety.configuration, machine.raftId));
}

/** A planned change of leadership in a healthy group has to work. */
async function handOver(stage: Stage): Promise<void> {
  const { world } = stage;
  for (let attempt = 0; attempt < 3; attempt++) {
    await within(stage, leaderWithin, "there is no leader to hand over", () => {
      return settledLeader(stage) !== undefined;
    });
    const leader = settledLeader(stage);
    if (leader === undefined) continue;
    const { node } = leader.process;
    if (node.membership.confState.voters.length < 2) return;
    const findSuccessor = () => {
      const { progress, lastIndex } = node.status();
      const isReady = (id: number) =>
        id !== leader.machine.raftId && progress.get(id)?.match === lastIndex;
      return node.membership.confState.voters.find(isReady);
    };
    await within(stage, membersWithin, "no voter caught up", () => findSuccessor() !== undefined);
    const to = findSuccessor() ?? 0;
    node.duties.transferLeadership(to).catch(() => {
      // Seen below: the successor does not lead.
    });
    const end = world.queue.now + electionTime(stage);
    const done = () => settledLeader(stage)?.machine.raftId === to;
    await runUntil(stage, () => done() || world.queue.now > end);
    if (done()) return;
  }
  throw new Violation("transfer ends", "leadership could not be handed over in a healthy group");
}

/**
 * One member that speaks but does not hear must not keep the others from finding a leader when theirs was restarted.
 */
async function ignoreTheDeaf(stage: Stage): Promise<void> {
  const { world } = stage;
  const leader = settledLeader(stage);
  const { voters } = world.safety.configuration;
  const deaf = world.machineOf(voters.find((id) => id !== leader?.machine.raftId) ?? 0);
  if (leader === undefined || deaf === undefined || voters.length < 3) return;
  for (const other of world.machines) {
    if (other !== deaf) world.network.cut(other.number, deaf.number);
  }
  leader.machine.crash();
  const end = world.queue.now + 2 * electionTime(stage);
  await runUntil(stage, () => world.queue.now > end);
  leader.machine.start();
  await within(stage, leaderWithin, "a deaf member keeps the others from finding a leader", () => {
    return settledLeader(stage) !== undefined;
  });
  world.network.mend();
}

/** Without faults nobody has a reason to stand for election, removed members included. */
async function stayPut(stage: Stage): Promise<void> {
  const { world } = stage;
  const before = world.safety.leaderChanges;
  const end = world.queue.now + stableFor * electionTime(stage);
  await runUntil(stage, () => world.queue.now > end);
  if (world.safety.leaderChanges === before) return;
  throw new Violation("liveness", "a healthy group changed its leader");
}

async function compareReplicas(stage: Stage): Promise<void> {
  let first: { readonly id: number; readonly bytes: Buffer } | undefined;
  for (const { process, raftId } of members(stage)) {
    if (process === undefined) continue;
    const { chunks } = await snapshotOf(process.main.state.freeze());
    const bytes = Buffer.concat(chunks);
    first ??= { id: raftId, bytes };
    if (!first.bytes.equals(bytes)) {
      throw new Violation("identical snapshots", `members ${first.id} and ${raftId} differ`);
    }
  }
}

/** What the watcher of a process got must be what was applied, without a gap. */
async function checkWatch({ loop, world }: Stage, { main }: Process): Promise<void> {
  const problem = await watchViolation(main, world.changes, () => loop.settle());
  if (problem !== undefined) throw new Violation("watch streams", problem);
}
