/**
 * Hollow agents of `dispatch.ts`, many in one process, each with its own certificate and connection.
 */
import { createKey } from "../src/common/identity/key.ts";
import { answerParent } from "./child.ts";
import type { StartedManager } from "./dispatch-manager.ts";
import { hollowAgent } from "./hollow-agent.ts";

/** What the agents are asked; `open` resolves once every one of them is registered. */
export type AgentsRequest = {
  readonly type: "open";
  readonly manager: StartedManager;
  readonly nodeIds: readonly string[];
};

/** How often it is said how many have registered, and the longest one may take; milliseconds. */
const progressMs = 10_000;
const registeredMsMax = 300_000;
/** Agents that connect at a time: a node of its own each, they would not wait for each other. */
const openingMax = 32;

async function open({ manager, nodeIds }: AgentsRequest): Promise<number> {
  // One key for all: making thousands is no part of what is measured.
  const key = await createKey();
  const waiting = [...nodeIds];
  const begin = performance.now();
  let registered = 0;
  const progress = setInterval(() => {
    process.stderr.write(`${registered} of ${nodeIds.length} agents registered\n`);
  }, progressMs);
  const worker = async () => {
    for (let nodeId = waiting.shift(); nodeId !== undefined; nodeId = waiting.shift()) {
      const agent = hollowAgent({ nodeId, key }, manager);
      agent.run(new AbortController().signal).catch((error: unknown) => {
        process.stderr.write(`agent ended: ${error}\n`);
      });
      await agent.registered(AbortSignal.timeout(registeredMsMax));
      registered++;
    }
  };
  await Promise.all(Array.from({ length: openingMax }, worker));
  clearInterval(progress);
  return performance.now() - begin;
}

answerParent(open);
