/**
 * Which nodes a service may have tasks on: its constraints, parsed once for each spec. For services whose places are nodes.
 */
import type { Node, Service } from "../../src/common/api/generated/api.ts";
import { type NodeMatcher, nodeMatcher } from "../constraint/match.ts";
import { parseConstraints } from "../constraint/parse.ts";

/** Matchers of constraints, by the spec they are from. */
export class NodeMatchers {
  readonly #matchers = new WeakMap<object, NodeMatcher>();

  of({ spec }: Service): NodeMatcher {
    if (spec === undefined) return () => true;
    let matcher = this.#matchers.get(spec);
    if (matcher === undefined) {
      matcher = nodeMatcher(parseConstraints(spec.task?.placement?.constraints ?? []));
      this.#matchers.set(spec, matcher);
    }
    return matcher;
  }
}

/** Whether something changed that a service may look at. */
export function mattersTo(node: Node, old: Node | undefined): boolean {
  return (
    old === undefined ||
    node.spec !== old.spec ||
    node.description !== old.description ||
    node.role !== old.role ||
    node.status?.state !== old.status?.state ||
    node.status?.address !== old.status?.address
  );
}
