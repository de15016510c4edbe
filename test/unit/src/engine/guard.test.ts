/**
 * Which state of the node allows which call, and the texts of the refusals.
 */
import assert from "node:assert/strict";
import {
  requireLocked,
  requireManager,
  requireMayInit,
  requireMayJoin,
  requireMayLeave,
  whyNoManager,
} from "../../../../src/engine/guard.ts";
import type { ManagerMember, SwarmStatus } from "../../../../src/engine/ports.ts";

const inactive: SwarmStatus = {
  state: "inactive",
  nodeId: "",
  nodeAddress: "",
  isManager: false,
  controlAvailable: false,
  error: "",
  certificateExpired: false,
  remoteManagers: [],
};
const worker: SwarmStatus = { ...inactive, state: "active", nodeId: "n" };
const manager: SwarmStatus = { ...worker, isManager: true, controlAvailable: true };
const joining: SwarmStatus = { ...inactive, state: "pending" };
const unconnected: SwarmStatus = { ...worker, state: "pending" };
const locked: SwarmStatus = { ...inactive, state: "locked", isManager: true };
const starting: SwarmStatus = { ...manager, state: "pending", controlAvailable: false };
const expired: SwarmStatus = { ...inactive, state: "error", certificateExpired: true };

function members(...reachable: boolean[]): ManagerMember[] {
  return reachable.map((is, i) => ({
    nodeId: `n${i}`,
    address: "",
    leader: i === 0,
    reachable: is,
  }));
}

describe("src/engine/guard", () => {
  it("says why a node does not serve cluster calls", () => {
    assert.equal(whyNoManager(manager), undefined);
    assert.doesNotThrow(() => requireManager(manager));
    for (const [status, text] of [
      [
        inactive,
        /^This node is not a swarm manager\. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again\.$/,
      ],
      [
        worker,
        /^This node is not a swarm manager\. Worker nodes can't be used to view or modify cluster state\. Please run this command on a manager node or promote the current node to a manager\.$/,
      ],
      [joining, /Use "docker swarm init" or "docker swarm join"/],
      [unconnected, /Worker nodes can't be used to view or modify cluster state/],
      [starting, /Manager is being prepared or has trouble connecting to the cluster\.$/],
      [
        locked,
        /^Swarm is encrypted and needs to be unlocked before it can be used\. Please use "docker swarm unlock" to unlock it\.$/,
      ],
      [
        expired,
        /^Swarm certificates have expired\. To replace them, leave the swarm and join again\.$/,
      ],
    ] as const)
      assert.throws(() => requireManager(status), { code: "unavailable", message: text });
  });

  it("lets only a node without swarm init and join, and a manager force a new cluster", () => {
    assert.doesNotThrow(() => requireMayInit(inactive, false));
    assert.doesNotThrow(() => requireMayInit(manager, true));
    assert.doesNotThrow(() => requireMayJoin(inactive));
    const text = /This node is already part of a swarm\. Use "docker swarm leave"/;
    for (const status of [worker, manager, locked, starting, expired]) {
      assert.throws(() => requireMayInit(status, false), text);
      assert.throws(() => requireMayJoin(status), text);
    }
    assert.throws(() => requireMayInit(worker, true), /Worker nodes can't be used/);
  });

  it("unlocks only what is locked", () => {
    assert.doesNotThrow(() => requireLocked(locked));
    assert.throws(() => requireLocked(manager), {
      code: "aborted",
      message: "swarm is not locked",
    });
    assert.throws(() => requireLocked(inactive), /Use "docker swarm init"/);
  });

  it("asks for force where leaving endangers the swarm", () => {
    assert.throws(
      () => requireMayLeave(inactive, [], true),
      /^ClusterError: This node is not part of a swarm$/,
    );
    assert.doesNotThrow(() => requireMayLeave(worker, [], false));
    assert.doesNotThrow(() => requireMayLeave(manager, members(true), true));
    assert.doesNotThrow(() => requireMayLeave(locked, [], true));
    assert.throws(() => requireMayLeave(locked, [], false), /encrypted and locked/);
    for (const [group, text] of [
      [
        members(true),
        /Removing the last manager erases all current state of the swarm\. Use `--force`/,
      ],
      [
        members(true, true),
        /Removing this node leaves 1 managers out of 2\. Without a Raft quorum/,
      ],
      [members(true, true, false), /Removing this node leaves 1 managers out of 3/],
      [members(true, true, true), /participating as a manager\. The only way to restore/],
    ] as const)
      assert.throws(() => requireMayLeave(manager, group, false), {
        code: "unavailable",
        message: text,
      });
    assert.throws(
      () => requireMayLeave(starting, [], false),
      /Doing so may lose the consensus of your cluster/,
    );
  });
});
