/**
 * Pure files: the Raft core, what replicas apply, and every decision. The same input must give the same output on every
 * machine and in every replay, so they use no clock, no randomness, no I/O and no promises.
 */
import { type Fault, isNode, lineAt, type Source, type SyntaxNode, walk } from "./source.ts";

const pureFiles: readonly RegExp[] = [
  /^manager\/raft\/core\//,
  /^(manager|agent)\/.*\/(reconcile|decide|plan|policy|choose|check|diff)\.ts$/,
  /^manager\/state\/(action|apply)\.ts$/,
  /^manager\/allocator\/(?!loop\.ts)/,
  /^manager\/scheduler\/(?!(loop|writes)\.ts)/,
  /^manager\/constraint\//,
  /^manager\/dispatcher\/assignments\.ts$/,
  /^manager\/dispatcher\/network-(view|log|messages|position)\.ts$/,
  /^agent\/exec\/containerd\/oci-spec\.ts$/,
  /^src\/common\/(job|platform)\//,
  /^src\/engine\/translate\//,
  /^src\/stack\//,
];

/** Names whose use reads the clock, the system or the network. */
const impureNames = new Set([
  "process",
  "performance",
  "crypto",
  "fetch",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "queueMicrotask",
  "Promise",
]);

/** Uses of time, randomness, the system or promises in a file that must be pure. */
export function purityFaults(source: Source): Fault[] {
  if (!pureFiles.some((files) => files.test(source.path))) return [];
  const faults: Fault[] = [];
  const add = (line: number, message: string) => faults.push({ path: source.path, line, message });
  for (const { request, line } of source.imports) {
    if (request.startsWith("node:")) add(line, `is pure and must not import ${request}`);
  }
  walk(source.body, (node, parent) => {
    const used = impurity(node, parent);
    if (used !== undefined)
      add(lineAt(source.text, node.start), `is pure and must not use ${used}`);
  });
  return faults;
}

function impurity(node: SyntaxNode, parent: SyntaxNode | undefined): string | undefined {
  if (node["async"] === true) return "async";
  if (
    node.type === "AwaitExpression" ||
    (node.type === "ForOfStatement" && node["await"] === true)
  ) {
    return "await";
  }
  if (node.type === "MemberExpression") {
    const text = `${nameOf(node["object"])}.${nameOf(node["property"])}`;
    return text === "Math.random" || text === "Date.now" ? text : undefined;
  }
  // `new Date(ms)` only formats; without arguments it reads the clock.
  const callee = nameOf(node["callee"]);
  if (node.type === "CallExpression" && callee === "Date") return "Date()";
  if (node.type === "NewExpression" && callee === "Date") {
    return (node["arguments"] as unknown[]).length === 0 ? "new Date()" : undefined;
  }
  if (node.type !== "Identifier" || !impureNames.has(String(node["name"]))) return undefined;
  return isMereName(node, parent) ? undefined : String(node["name"]);
}

/** A field or parameter may be called `process` without being the global. */
function isMereName(node: SyntaxNode, parent: SyntaxNode | undefined): boolean {
  if (parent === undefined) return false;
  if (parent.type === "MemberExpression")
    return parent["property"] === node && parent["computed"] !== true;
  return parent["key"] === node && parent["computed"] !== true;
}

function nameOf(value: unknown): string {
  return isNode(value) && value.type === "Identifier" ? String(value["name"]) : "";
}
