/**
 * Whether a node meets placement constraints (docker-facts 1.6). Pure.
 *
 * Shared by the scheduler, the enforcer and the orchestrator of global services, so that all have one answer. Values are
 * compared as a whole and without case; a label that a node does not have is the empty text.
 */
import type { Node } from "../../src/common/api/generated/api.ts";
import { normalizePlatform } from "../../src/common/platform/match.ts";
import { contains, parseAddress, parsePrefix } from "../../src/common/spec/cidr.ts";
import type { Constraint } from "./parse.ts";

/** Says whether a node meets some constraints. */
export type NodeMatcher = (node: Node) => boolean;

/** Whether nodes meet all of some constraints: what can be worked out of the constraints alone is worked out once. */
export function nodeMatcher(constraints: readonly Constraint[]): NodeMatcher {
  const matchers = constraints.map(matcherOf);
  return (node) => matchers.every((matches) => matches(node));
}

const nodeLabels = "node.labels.";
const engineLabels = "engine.labels.";

/**
 * What a node has under a key, for spread preferences: a label's value, empty when the node does not have it.
 *
 * @returns undefined when the key is no label at all.
 */
export function labelReader(key: string): ((node: Node) => string) | undefined {
  const label = labelIn(key, nodeLabels);
  if (label !== undefined) return (node) => labelValue(node.spec?.annotations?.labels, label);
  const engineLabel = labelIn(key, engineLabels);
  if (engineLabel === undefined) return undefined;
  return (node) => labelValue(node.description?.engine?.labels, engineLabel);
}

/** The prefix is compared without case, the label itself is not. */
function labelIn(key: string, prefix: string): string | undefined {
  if (key.length <= prefix.length) return undefined;
  return key.slice(0, prefix.length).toLowerCase() === prefix
    ? key.slice(prefix.length)
    : undefined;
}

function labelValue(labels: Readonly<Record<string, string>> | undefined, label: string): string {
  return labels !== undefined && Object.hasOwn(labels, label) ? (labels[label] ?? "") : "";
}

function matcherOf(constraint: Constraint): NodeMatcher {
  const isEqual = equality(constraint);
  // A key nobody knows is met by no node, whatever the operator: the user meant something by it.
  if (isEqual === undefined) return () => false;
  return constraint.operator === "==" ? isEqual : (node) => !isEqual(node);
}

function equality({ key, value }: Constraint): NodeMatcher | undefined {
  const wanted = value.toLowerCase();
  const label = labelReader(key);
  if (label !== undefined) return (node) => label(node).toLowerCase() === wanted;
  switch (key.toLowerCase()) {
    case "node.id":
      return (node) => node.id.toLowerCase() === wanted;
    case "node.hostname":
      return (node) => (node.description?.hostname ?? "").toLowerCase() === wanted;
    case "node.role":
      return (node) => node.role === wanted;
    case "node.ip":
      return addressMatcher(value);
    case "node.platform.os":
      return (node) => (node.description?.platform?.os ?? "").toLowerCase() === wanted;
    case "node.platform.arch":
      return architectureMatcher(wanted);
    default:
      return undefined;
  }
}

/** An address is met by itself, a prefix by every address in it; anything else by none. */
function addressMatcher(value: string): NodeMatcher {
  const prefix = parsePrefix(value);
  const address = parseAddress(value);
  return (node) => {
    const own = parseAddress(node.status?.address ?? "");
    if (own === undefined) return false;
    if (prefix !== undefined) return contains(prefix, own);
    return address?.family === own.family && address.value === own.value;
  };
}

/**
 * Architectures are equal under all their names: `x86_64` is `amd64`, `aarch64` is `arm64`. Of the words for 32-bit ARM
 * `arm` means any, those of a level (`armv7l`, `armhf`) mean that level.
 */
function architectureMatcher(wanted: string): NodeMatcher {
  const asked = platformOf(wanted, "");
  const hasLevel = asked.architecture === "arm" && wanted !== "arm";
  return (node) => {
    const { architecture, variant } = node.description?.platform ?? {
      architecture: "",
      variant: "",
    };
    if (architecture.toLowerCase() === wanted) return true;
    const own = platformOf(architecture, variant);
    if (own.architecture !== asked.architecture) return false;
    return !hasLevel || own.variant === asked.variant;
  };
}

function platformOf(architecture: string, variant: string) {
  return normalizePlatform({ architecture, os: "linux", variant, emulated: false });
}
