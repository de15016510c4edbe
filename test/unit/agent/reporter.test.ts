/**
 * Reports of task statuses: the newest only, until the leader has them, over several sessions.
 */
import { deepEqual, equal } from "node:assert/strict";
import { Reporter } from "../../../agent/reporter.ts";
import { TaskStatus, type TaskStatusReport } from "../../../src/common/api/generated/api.ts";
import { taskErrorTextMax, taskStatusesPerMessageMax } from "../../../src/common/limits/agent.ts";
import { settled } from "../../support/message-queue.ts";

const status = (message: string) => TaskStatus.create({ state: "running", message });

describe("agent/reporter", () => {
  let reporter: Reporter;
  let sent: TaskStatusReport[];
  const begin = () => {
    sent = [];
    reporter.begin((report) => sent.push(report));
  };
  const said = () =>
    sent.map(({ number, statuses }) => [
      number,
      ...statuses.map((s) => `${s.taskId} ${s.status?.message}`),
    ]);

  beforeEach(() => {
    reporter = new Reporter();
    begin();
  });

  it("puts what comes in one turn into one message, the newest of each task", async () => {
    reporter.report("a", status("1"));
    reporter.report("b", status("1"));
    reporter.report("a", status("2"));
    await settled();
    deepEqual(said(), [[1, "a 2", "b 1"]]);
  });

  it("sends again in the next session what was not taken, and what came without one", async () => {
    reporter.report("a", status("1"));
    await settled();
    reporter.report("b", status("1"));
    await settled();
    reporter.taken(1);
    reporter.end();
    reporter.report("c", status("1"));
    begin();
    await settled();
    deepEqual(said(), [[1, "b 1", "c 1"]]);
    reporter.taken(1);
    equal(reporter.untaken, 0);
  });

  it("does not send again what a newer status overtook", async () => {
    reporter.report("a", status("old"));
    await settled();
    reporter.end();
    reporter.report("a", status("new"));
    begin();
    await settled();
    deepEqual(said(), [[1, "a new"]]);
  });

  it("has four messages on their way at most, and goes on as they are taken", async () => {
    for (const number of [1, 2, 3, 4, 5]) {
      reporter.report("a", status(`${number}`));
      await settled();
    }
    equal(sent.length, 4);
    reporter.taken(2);
    await settled();
    deepEqual(said().at(-1), [5, "a 5"]);
  });

  it("bounds a message, and the text of an error", async () => {
    const error = "x".repeat(taskErrorTextMax + 1);
    for (let i = 0; i <= taskStatusesPerMessageMax; i++) {
      reporter.report(`t${i}`, TaskStatus.create({ state: "failed", error }));
    }
    await settled();
    deepEqual(
      sent.map(({ statuses }) => statuses.length),
      [taskStatusesPerMessageMax, 1],
    );
    equal(sent[1]?.statuses[0]?.status?.error, `${"x".repeat(taskErrorTextMax)}…`);
  });

  it("forgets a task that is none of the node's any more", async () => {
    reporter.report("a", status("1"));
    reporter.forget("a");
    await settled();
    deepEqual(said(), []);
  });
});
