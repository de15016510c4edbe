/**
 * Drives a task that stands for a container somebody attached to a network by hand: there is nothing to run, the container
 * is the user's. It is RUNNING from the start until it is taken away.
 */
import { aborting } from "../../src/common/clock/aborting.ts";
import type { Controller } from "./controller.ts";

/** The controller of an attachment. */
export function attachmentController(): Controller {
  return {
    prepare: async () => {},
    start: async () => undefined,
    wait: (signal) => aborting(new Promise<never>(() => {}), signal),
    shutdown: async () => {},
    remove: async () => {},
    isSettled: () => true,
    status: () => undefined,
    ports: () => [],
  };
}
