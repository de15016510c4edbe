/**
 * What runs tasks on this node, as an interface: `exec/containerd` for containers, fakes for tests and hollow agents.
 */
import type {
  Config,
  Node,
  NodeDescription,
  Secret,
  Task,
} from "../../src/common/api/generated/api.ts";
import type { Controller } from "./controller.ts";

/** What tasks of this node may read, by the keys of their revisions; from memory only. */
export interface TaskDependencies {
  secret(id: string): Secret | undefined;
  config(id: string): Config | undefined;
}

/** What a controller is made of. */
export interface ControllerRequest {
  readonly task: Task;
  readonly nodeId: string;
  readonly dependencies: TaskDependencies;
}

/** Runs tasks of one node. */
export interface Executor {
  /** What the node says of itself, read anew. */
  describe(): NodeDescription;
  /** The node as the managers have it changed, such as its labels. */
  nodeChanged(node: Node): void;
  controller(request: ControllerRequest): Controller;
  /** Resolves once it is known what is on this node; what cannot be known is not waited for for ever. */
  ready(signal: AbortSignal): Promise<void>;
  /** Ids of the tasks that have something on this node. */
  taskIds(): readonly string[];
  /** Removes what is left of a task that is no task any more. @throws ClusterError */
  discard(taskId: string): Promise<void>;
}
