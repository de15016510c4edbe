/**
 * What is left of tasks on a node that is in no swarm, by a played runtime.
 */
import { deepEqual, equal } from "node:assert/strict";
import type { Executor } from "../../../../agent/exec/executor.ts";
import type { NetworkPort } from "../../../../agent/network/state.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { discardTasks } from "../../../../src/node/task-leftovers.ts";
import { settled } from "../../../support/message-queue.ts";

describe("src/node/task-leftovers", () => {
  let isReady: () => void;
  let fails: () => void;
  let removed: string[];
  let hasLeft: number;

  beforeEach(() => {
    removed = [];
    hasLeft = 0;
  });

  function begin(isOutside?: () => boolean): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      isReady = resolve;
      fails = () => reject(new Error("no runtime"));
    });
    const executor: Pick<Executor, "ready" | "taskIds" | "discard"> = {
      ready: () => ready,
      taskIds: () => ["a", "b"],
      discard: async (id) => {
        removed.push(id);
      },
    };
    const network: Pick<NetworkPort, "left"> = { left: () => hasLeft++ };
    const tools = { executor: executor as Executor, network: network as NetworkPort };
    return discardTasks({ ...tools, log: silentLog }, isOutside);
  }

  it("goes once the runtime is there, and its networks after it", async () => {
    const done = begin(() => true);
    await settled();
    deepEqual([removed, hasLeft], [[], 0]);
    isReady();
    await done;
    deepEqual([removed, hasLeft], [["a", "b"], 1]);
  });

  it("is left to a membership that began meanwhile", async () => {
    let isOutside = true;
    const done = begin(() => isOutside);
    isOutside = false;
    isReady();
    await done;
    deepEqual([removed, hasLeft], [[], 0]);
  });

  it("is not waited for for ever when the node leaves: its networks go all the same", async () => {
    const done = begin();
    fails();
    await done;
    deepEqual(removed, []);
    equal(hasLeft, 1);
  });
});
