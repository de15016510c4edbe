/**
 * The form of one file: opening docstring, a docstring on every export, sizes, and the language features the house style
 * does without.
 */
import { type Fault, isNode, lineAt, type Source, type SyntaxNode, walk } from "./source.ts";

const fileLinesMax = 600;
const functionLinesMax = 70;
/** Shorter openings cannot say what a file holds and where it sits. */
const openingLengthMin = 30;

/** Everything about a file's form that breaks the house style. */
export function shapeFaults(source: Source): Fault[] {
  const { path, text } = source;
  const faults: Fault[] = [];
  const add = (offset: number, message: string) =>
    faults.push({ path, line: lineAt(text, offset), message });
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "index.ts") add(0, "index files are not used: import the file that holds the thing");
  if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(name)) add(0, "file names are kebab-case");
  const lines = text.trimEnd().split("\n").length;
  if (lines > fileLinesMax) add(0, `has ${lines} lines; ${fileLinesMax} is the limit`);
  openingFaults(source, add);
  exportFaults(source, add);
  for (const comment of source.comments) {
    if (/\bTODO\b(?!.*#\d)/.test(comment.text)) add(comment.start, "a TODO has an issue number");
  }
  walk(source.body, (node, parent) => {
    const message = nodeFault(source, node, parent);
    if (message !== undefined) add(node.start, message);
  });
  return faults;
}

type Add = (offset: number, message: string) => void;

function openingFaults(source: Source, add: Add): void {
  const first = source.comments[0];
  const before = first === undefined ? "" : source.text.slice(0, first.start);
  const opens = first?.doc === true && before.replace(/^#!.*\n/, "").trim() === "";
  if (!opens || first.text.length < openingLengthMin) {
    add(0, "must open with a docstring: what it holds and where it sits");
  }
}

function exportFaults(source: Source, add: Add): void {
  const documented = new Set<string>();
  for (const node of source.body) {
    if (node.type === "ExportDefaultDeclaration") add(node.start, "default exports are not used");
    if (node.type === "ExportAllDeclaration") add(node.start, "export * hides what a file offers");
    const declaration = node["declaration"];
    if (node.type !== "ExportNamedDeclaration" || !isNode(declaration)) continue;
    const name = exportedName(declaration);
    const doc = docBefore(source, node.start);
    if (doc) documented.add(name);
    // The overloads of a function share the docstring of the first.
    else if (!documented.has(name)) add(node.start, `export ${name} has no docstring`);
  }
}

function docBefore(source: Source, offset: number): boolean {
  return source.comments.some(
    (comment, position) =>
      comment.doc &&
      position > 0 && // the first is the file's own
      comment.end <= offset &&
      source.text.slice(comment.end, offset).trim() === "",
  );
}

function exportedName(declaration: SyntaxNode): string {
  const list = declaration["declarations"];
  const first: unknown = Array.isArray(list) ? list[0] : declaration;
  const id = isNode(first) ? first["id"] : undefined;
  return isNode(id) ? String(id["name"] ?? "?") : "?";
}

function nodeFault(
  source: Source,
  node: SyntaxNode,
  parent: SyntaxNode | undefined,
): string | undefined {
  switch (node.type) {
    case "TSAnyKeyword":
      return "any is not used";
    case "TSNonNullExpression":
      return "! is not used: check, or assert with a message";
    case "TSEnumDeclaration":
      return "enums are not used: write a union of string literals";
    case "CatchClause":
      return emptyCatch(source, node) ? "an empty catch needs a sentence" : undefined;
    case "FunctionDeclaration":
    case "FunctionExpression":
    case "ArrowFunctionExpression": {
      const lines = source.text.slice(node.start, node.end).split("\n").length;
      if (lines <= functionLinesMax || isSuite(source, parent)) return undefined;
      return `function has ${lines} lines; ${functionLinesMax} is the limit`;
    }
    default:
      return undefined;
  }
}

function emptyCatch(source: Source, node: SyntaxNode): boolean {
  const body = node["body"];
  if (!isNode(body) || (body["body"] as unknown[]).length > 0) return false;
  return !source.comments.some((comment) => comment.start > body.start && comment.end < body.end);
}

/** The function handed to `describe` is a chapter of tests, not a function to read in one go. */
function isSuite(source: Source, parent: SyntaxNode | undefined): boolean {
  return (
    source.path.startsWith("test/") &&
    parent?.type === "CallExpression" &&
    /^describe\b/.test(source.text.slice(parent.start, parent.start + 10))
  );
}
