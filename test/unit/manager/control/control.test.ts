/**
 * Where a write runs: here, on the leader, or nowhere yet.
 */
import assert from "node:assert/strict";
import { ControlService, SecretSpec } from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { noLeader, noLeaderText } from "../../../../src/common/errors/no-leader.ts";
import { leaderPollMs, leaderWaitMs } from "../../../../src/common/limits/limits.ts";
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
    await call(createSecret, { spec, id: "" });
    assert.equal(store.view().count("secret"), 1);
    Object.assign(group, { leaderNodeId: "other", isLeader: false });
    await call(createSecret, { spec, id: "" });
    assert.deepEqual(handed, [createSecret.path]);
    assert.equal(store.view().count("secret"), 1);
  });

  it("refuses a request that was handed to the wrong manager", async () => {
    const { group, control } = testControl();
    Object.assign(group, { isLeader: false });
    const handled = control.handle(createSecret, { spec, id: "" }, new AbortController().signal);
    await assert.rejects(handled, { code: "unavailable", message: noLeaderText });
  });

  it("waits for an election", async () => {
    const { group, call, clock, store } = testControl();
    Object.assign(group, { leaderNodeId: undefined, isLeader: false });
    const written = call(createSecret, { spec, id: "" });
    await clock.advance(leaderWaitMs / 2);
    assert.equal(store.view().count("secret"), 0);
    Object.assign(group, { leaderNodeId: "self", isLeader: true });
    await clock.advance(leaderWaitMs / 4);
    await written;
  });

  it("tries again when leadership moved before anything was committed", async () => {
    const refusals = [noLeader(), new ClusterError("aborted", "leadership was lost")];
    const { group, call, clock } = testControl({
      forward: async (method) => {
        const refusal = refusals.pop();
        if (refusal !== undefined) throw refusal;
        return method.response.create();
      },
    });
    Object.assign(group, { leaderNodeId: "other", isLeader: false });
    const written = call(createSecret, { spec, id: "" });
    for (let i = 0; i < 4; i++) await clock.advance(leaderPollMs);
    await written;
    assert.equal(refusals.length, 0);
  });

  it("does not repeat a write whose outcome is not known", async () => {
    let calls = 0;
    const { group, call } = testControl({
      forward: async () => {
        calls++;
        throw new ClusterError("unavailable", "the connection broke");
      },
    });
    Object.assign(group, { leaderNodeId: "other", isLeader: false });
    await assert.rejects(call(createSecret, { spec, id: "" }), { message: "the connection broke" });
    assert.equal(calls, 1);
  });

  it("makes one object when a create is cut off after it was carried out", async () => {
    const { group, control, call, clock, store } = testControl({
      forward: async (method, request, signal) => {
        // The old leader commits it, and dies before it answers; then this manager leads.
        Object.assign(group, { leaderNodeId: "self", isLeader: true });
        await control.handle(method, request, signal);
        throw new ClusterError("unavailable", "cut off", { fields: { leaderChanged: true } });
      },
    });
    Object.assign(group, { leaderNodeId: "other", isLeader: false });
    const written = call(createSecret, { spec, id: "" });
    for (let i = 0; i < 4; i++) await clock.advance(leaderPollMs);
    const { id } = await written;
    assert.deepEqual(
      store
        .view()
        .list("secret")
        .map((secret) => secret.id),
      [id],
    );
  });

  it("says that there is no leader when none comes", async () => {
    const { group, call, clock } = testControl();
    Object.assign(group, { leaderNodeId: undefined, isLeader: false });
    const refused = assert.rejects(call(createSecret, { spec, id: "" }), {
      code: "unavailable",
      message: noLeaderText,
    });
    await clock.advance(leaderWaitMs + 100);
    await refused;
  });
});
