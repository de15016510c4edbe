/**
 * What an operator says a node has beside CPU and memory: `--node-generic-resource`, as dockerd takes it. Pure.
 */
import { GenericResource } from "../common/api/generated/api.ts";
import { ClusterError } from "../common/errors/cluster-error.ts";

/**
 * Resources by `KIND=VALUE`: a number is how many there are, any other text names one; several names of a kind add up.
 *
 * @throws ClusterError invalid-argument for another form, a kind both counted and named, or said twice.
 */
export function parseGenericResources(list: readonly string[]): GenericResource[] {
  const resources: GenericResource[] = [];
  for (const item of list.flatMap((text) => text.split(","))) {
    const match = /^([A-Za-z][\w.-]*)=([\w.:/-]+)$/.exec(item.trim());
    if (match === null) throw bad(item, "the form is KIND=COUNT or KIND=NAME");
    const [, kind = "", value = ""] = match;
    const isCounted = /^\d+$/.test(value);
    const before = resources.find((one) => one.kind === kind);
    if (before !== undefined && (isCounted || before.named === "")) {
      throw bad(item, `${kind} is said already: a kind is either counted once or named`);
    }
    if (resources.some((one) => one.kind === kind && one.named === value)) {
      throw bad(item, "it is said twice");
    }
    const count = isCounted ? Number(value) : 0;
    resources.push(GenericResource.create(isCounted ? { kind, count } : { kind, named: value }));
  }
  return resources;
}

function bad(item: string, why: string): ClusterError {
  return new ClusterError("invalid-argument", `--node-generic-resource ${item}: ${why}`);
}
