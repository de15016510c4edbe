/**
 * Which tasks an update of a service has to replace (docker-facts 1.8).
 *
 * Many tasks share one spec, so each spec is compared once. A change of the placement alone replaces a task only when its
 * node does not meet the new constraints, or when it has no node yet; an image that was pushed again under its tag only those
 * tasks whose nodes run another manifest of it by now.
 */
import {
  type Node,
  Placement,
  type Service,
  type Task,
} from "../../../src/common/api/generated/api.ts";
import { runsSameImage, taskDifference } from "../../../src/common/task/dirty.ts";
import { type NodeMatcher, nodeMatcher } from "../../constraint/match.ts";
import { parseConstraints } from "../../constraint/parse.ts";

type Verdict = "same" | "other" | "placement" | "image";

/** Compares tasks with one version of a service. */
export class Outdated {
  readonly #service: Service;
  readonly #nodeOf: (id: string) => Node | undefined;
  readonly #verdicts = new Map<object | undefined, Map<object | undefined, Verdict>>();
  readonly #placement: Uint8Array;
  #matches: NodeMatcher | undefined;

  constructor(service: Service, nodeOf: (id: string) => Node | undefined) {
    this.#service = service;
    this.#nodeOf = nodeOf;
    this.#placement = placementBytes(service.spec?.task?.placement);
  }

  /** Whether the task is to be replaced. */
  has(task: Task): boolean {
    if (task.specVersion === this.#service.specVersion) return false;
    switch (this.#verdictOn(task)) {
      case "same":
        return false;
      case "other":
        return true;
      case "image": {
        // It may be the same on the node of the task: pushed again for other machines.
        const node = task.nodeId === "" ? undefined : this.#nodeOf(task.nodeId);
        if (node === undefined || !this.canHave(node)) return true;
        return !runsSameImage(this.#service, task, node);
      }
      case "placement": {
        const node = task.nodeId === "" ? undefined : this.#nodeOf(task.nodeId);
        return node === undefined || !this.canHave(node);
      }
    }
  }

  /** Whether the node keeps what it has and gets nothing new. */
  isPaused(nodeId: string): boolean {
    return this.#nodeOf(nodeId)?.spec?.availability === "pause";
  }

  /** Whether the node meets the service's constraints. */
  canHave(node: Node): boolean {
    this.#matches ??= nodeMatcher(
      parseConstraints(this.#service.spec?.task?.placement?.constraints ?? []),
    );
    return this.#matches(node);
  }

  #verdictOn(task: Task): Verdict {
    let byEndpoint = this.#verdicts.get(task.spec);
    if (byEndpoint === undefined) {
      byEndpoint = new Map();
      this.#verdicts.set(task.spec, byEndpoint);
    }
    let verdict = byEndpoint.get(task.endpoint);
    if (verdict === undefined) {
      verdict = this.#compare(task);
      byEndpoint.set(task.endpoint, verdict);
    }
    return verdict;
  }

  #compare(task: Task): Verdict {
    const difference = taskDifference(this.#service, task);
    if (difference !== "none") return difference;
    const placement = placementBytes(task.spec?.placement);
    return Buffer.from(placement).equals(this.#placement) ? "same" : "placement";
  }
}

function placementBytes(placement: Placement | undefined): Uint8Array {
  return Placement.encode(placement ?? Placement.create());
}
