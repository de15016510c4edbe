/**
 * Reading source files for the tidy test: the parsed file, its imports, its comments, and a walk over its syntax tree.
 *
 * The parser is oxc's, because the compiler of the 7 line exposes none; its tree is the ESTree with TypeScript's nodes.
 */
import { dirname, join, normalize } from "node:path";
import { parseSync } from "oxc-parser";

/** A node of the syntax tree. Every rule checks `type` before it looks at anything else. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** A comment; `text` is without its marks. */
export interface Comment {
  readonly doc: boolean;
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** One import, static or not, of a file or a package. */
export interface Import {
  /** As written, e.g. `./log.ts` or `node:fs`. */
  readonly request: string;
  /** Path from the top of the project when it is one of our files. */
  readonly file: string | undefined;
  readonly line: number;
}

/** A parsed file. */
export interface Source {
  /** Path from the top of the project, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly body: readonly SyntaxNode[];
  readonly comments: readonly Comment[];
  readonly imports: readonly Import[];
}

/** Something that breaks a rule, and where. */
export interface Fault {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/**
 * Parses a TypeScript file.
 *
 * @throws Error on a syntax error, which the compiler reports better.
 */
export function parse(path: string, text: string): Source {
  const { program, comments, errors } = parseSync(path, text);
  if (errors[0] !== undefined) throw new Error(`${path}: ${errors[0].message}`);
  const body = program.body as unknown as SyntaxNode[];
  return {
    path,
    text,
    body,
    comments: comments.map((comment) => ({
      doc: comment.type === "Block" && comment.value.startsWith("*"),
      text: comment.value.replace(/^\*/, "").trim(),
      start: comment.start,
      end: comment.end,
    })),
    imports: importsOf(path, text, body),
  };
}

/** Calls `visit` for every node below `root`, parents first. */
export function walk(
  root: unknown,
  visit: (node: SyntaxNode, parent: SyntaxNode | undefined) => void,
): void {
  const enter = (value: unknown, parent: SyntaxNode | undefined) => {
    if (Array.isArray(value)) for (const item of value) enter(item, parent);
    else if (isNode(value)) {
      visit(value, parent);
      for (const inner of Object.values(value)) enter(inner, value);
    }
  };
  enter(root, undefined);
}

/** Line of an offset, from 1. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1))
    line++;
  return line;
}

/** Whether a value of the tree is a node. */
export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

function importsOf(path: string, text: string, body: readonly SyntaxNode[]): Import[] {
  const found: Import[] = [];
  const kinds = new Set([
    "ImportDeclaration",
    "ExportNamedDeclaration",
    "ExportAllDeclaration",
    "ImportExpression",
    "TSImportType",
  ]);
  walk(body, (node) => {
    if (!kinds.has(node.type)) return;
    const source = node["source"] ?? node["argument"];
    if (!isNode(source) || typeof source["value"] !== "string") return;
    const request = source["value"];
    const file = request.startsWith(".") ? normalize(join(dirname(path), request)) : undefined;
    found.push({ request, file, line: lineAt(text, node.start) });
  });
  return found;
}
