/**
 * What drives one task on this node, as an interface: implemented by `exec/containerd` and by the fakes of tests.
 *
 * Every step may be called again after it was cut off, or by the next life of the daemon: it goes on from what is there.
 */
import type { ContainerStatus, PortConfig } from "../../src/common/api/generated/api.ts";

/** How a task's work ended. */
export interface TaskExit {
  readonly exitCode: number;
  /** Why, where the code alone does not say it; else empty. */
  readonly error: string;
  /** The true time of the end, milliseconds since the epoch; 0 when it is not known. */
  readonly finishedAtMs: number;
  /** It ended with its host, or its end was not seen: nothing is known of how. */
  readonly lost: boolean;
}

/**
 * Hold on one task's container.
 *
 * Signals that abort make steps reject with the signal's reason, as soon as nothing is left half done.
 */
export interface Controller {
  /** Makes everything ready up to the start: the image is here, the container made. @throws ClusterError */
  prepare(signal: AbortSignal): Promise<void>;
  /** Resolves with undefined once it runs, and is healthy where that is checked; with its exit when it ended before. */
  start(signal: AbortSignal): Promise<TaskExit | undefined>;
  /** Resolves when it has ended. */
  wait(signal: AbortSignal): Promise<TaskExit>;
  /** Stops it: signal, grace period, kill; resolves once it has ended, at once when there is nothing to stop. */
  shutdown(signal: AbortSignal): Promise<void>;
  /** Removes all there is of the task on this node. */
  remove(): Promise<void>;
  /** Whether it runs, or ended in a way that is known: nothing has to be started. */
  isSettled(): boolean;
  /** Container, process and exit code as they are now; undefined before there is a container. */
  status(): ContainerStatus | undefined;
  /** Ports of the node that lead to it while it runs; those of the routing mesh are the service's. */
  ports(): readonly PortConfig[];
}
