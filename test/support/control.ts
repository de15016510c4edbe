/**
 * Control over a store of one replica in this process, for tests of what it accepts and refuses.
 */
import { Control, type ControlOptions, type Forward } from "../../manager/control/control.ts";
import type { GroupMember } from "../../manager/control/environment.ts";
import type { Store } from "../../manager/state/store.ts";
import type { MethodDescriptor } from "../../src/common/api/generated/api.ts";
import { FakeClock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { seededRandom } from "../../src/common/random/random.ts";
import { localStore } from "./local-log.ts";

/** Control, its store, and the Raft group it believes in. */
export interface TestControl {
  readonly control: Control;
  readonly store: Store;
  readonly clock: FakeClock;
  readonly group: {
    leaderNodeId: string | undefined;
    isLeader: boolean;
    members: readonly GroupMember[];
  };
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q): Promise<R>;
}

/** A control that leads as node `self`. */
export function testControl(options: Partial<ControlOptions> = {}): TestControl {
  const { store } = localStore();
  const clock = new FakeClock();
  const group: TestControl["group"] = {
    leaderNodeId: "self",
    isLeader: true,
    members: [{ raftId: 1, nodeId: "self", reachable: true, learner: false }],
  };
  const forward: Forward = () =>
    Promise.reject(new ClusterError("unavailable", "there is no other manager"));
  const control = new Control({
    store,
    group: { leadership: () => group, members: () => group.members },
    forward,
    selfId: "self",
    clock,
    random: seededRandom(1),
    ...options,
  });
  const { signal } = new AbortController();
  const call: TestControl["call"] = (method, request) => control.call(method, request, signal);
  return { control, store, clock, group, call };
}
