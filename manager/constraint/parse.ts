/**
 * Placement constraints: text to expressions (docker-facts 1.6). Pure.
 *
 * `key==value` or `key!=value`. Shared by control, which refuses what does not parse, and by whoever matches nodes.
 */
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** One parsed constraint. */
export interface Constraint {
  /** As written, such as `node.labels.zone`. */
  readonly key: string;
  readonly operator: "==" | "!=";
  readonly value: string;
}

const operators = ["==", "!="] as const;
const keyPattern = /^[a-z_][a-z0-9\-_.]+$/i;
const valuePattern = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;

/**
 * @throws ClusterError `unknown`, the code Docker's manager sends for these, with what is wrong and where.
 */
export function parseConstraints(expressions: readonly string[]): readonly Constraint[] {
  return expressions.map(parseConstraint);
}

function parseConstraint(expression: string): Constraint {
  const operator = operators.find((text) => expression.includes(text));
  if (operator === undefined)
    throw refused(`constraint expected one operator from ${operators.join(", ")}`, expression);
  const at = expression.indexOf(operator);
  const key = expression.slice(0, at).trim();
  const value = expression.slice(at + operator.length).trim();
  if (!keyPattern.test(key)) throw refused(`key '${key}' is invalid`, expression);
  if (!valuePattern.test(value)) throw refused(`value '${value}' is invalid`, expression);
  return { key, operator, value };
}

function refused(message: string, expression: string): ClusterError {
  return new ClusterError("unknown", message, { fields: { constraint: expression } });
}
