/**
 * Where a write runs: here, on the leader, or nowhere yet.
 */
import assert from "node:assert/strict";
import { ControlService, SecretSpec } from "../../../../src/common/api/generated/api.ts";
import { noLeaderText } from "../../../../src/common/errors/no-leader.ts";
import { leaderWaitMs } from "../../../../src/common/limits/limits.ts";
import { testControl } from "../../../support/control.ts";

const spec = SecretSpec.create({
  annotations: { name: "key", labels: {} },
  data: new Uint8Array([1]),
});
const { createSecret } = ControlService;

describe("manager/control/control", () => {
  it("runs on the leader, and is handed on elsewhere", async () => {
    const handed: string[] = [];
    const { group, call, store } = testControl({
      forward: async (method) => {
        handed.push(method.path);
        return method.response.create();
      },
    });
    await call(createSecret, { spec });
    assert.equal(store.view().count("secret"), 1);
    Object.assign(group, { leaderNodeId: "other", isLeader: false });
    await call(createSecret, { spec });
    assert.deepEqual(handed, [createSecret.path]);
    assert.equal(store.view().count("secret"), 1);
  });

  it("refuses a request that was handed to the wrong manager", async () => {
    const { group, control } = testControl();
    Object.assign(group, { isLeader: false });
    const handled = control.handle(createSecret, { spec }, new AbortController().signal);
    await assert.rejects(handled, { code: "unavailable", message: noLeaderText });
  });

  it("waits for an election", async () => {
    const { group, call, clock, store } = testControl();
    Object.assign(group, { leaderNodeId: undefined, isLeader: false });
    const written = call(createSecret, { spec });
    await clock.advance(leaderWaitMs / 2);
    assert.equal(store.view().count("secret"), 0);
    Object.assign(group, { leaderNodeId: "self", isLeader: true });
    await clock.advance(leaderWaitMs / 4);
    await written;
  });

  it("says that there is no leader when none comes", async () => {
    const { group, call, clock } = testControl();
    Object.assign(group, { leaderNodeId: undefined, isLeader: false });
    const refused = assert.rejects(call(createSecret, { spec }), {
      code: "unavailable",
      message: noLeaderText,
    });
    await clock.advance(leaderWaitMs + 100);
    await refused;
  });
});
