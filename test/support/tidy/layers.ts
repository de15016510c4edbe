/**
 * Who may import whom (docs/architecture.md, section 2), and that no files import each other in a circle.
 */
import type { Fault, Source } from "./source.ts";

/** The order of the common folders: each may import those before it. */
const commonOrder = [
  "errors",
  "clock",
  "memory",
  "random",
  "ids",
  "limits",
  "log",
  "seal",
  "api",
  "spec",
  "job",
  "platform",
  "container",
  "registry",
  "task",
  "identity",
  "rpc",
  "containerd",
];

interface Layer {
  /** The files of the layer; the first layer that matches is the file's. */
  readonly files: RegExp;
  /** Files they may import besides those of their own folder. */
  readonly may: readonly RegExp[];
}

const common = /^src\/common\//;
const component = (name: string): Layer => ({
  files: new RegExp(`^manager/${name}/`),
  may: [common, /^manager\/(state|constraint)\//],
});

const layers: readonly Layer[] = [
  ...commonOrder.map((name, position) => ({
    files: new RegExp(`^src/common/${name}/`),
    may: [new RegExp(`^src/common/(${commonOrder.slice(0, position).join("|") || "-"})/`)],
  })),
  { files: /^manager\/raft\/core\//, may: [/^src\/common\/(api|errors|random)\//] },
  { files: /^manager\/raft\//, may: [common] },
  { files: /^manager\/state\//, may: [common] },
  {
    files: /^manager\/constraint\//,
    may: [/^src\/common\/(api|errors|platform|spec)\//],
  },
  ...[
    "orchestrator",
    "allocator",
    "scheduler",
    "dispatcher",
    "ca",
    "keymanager",
    "logbroker",
    "control",
    "membership",
    "images",
    "tunnel",
  ].map(component),
  {
    // A plan is made of the decisions of those that would carry it out.
    files: /^manager\/plan\//,
    may: [common, /^manager\/(state|control|orchestrator|allocator|scheduler|images)\//],
  },
  { files: /^manager\/[^/]+\.ts$/, may: [common, /^manager\//] },
  {
    files: /^agent\/exec\/containerd\//,
    may: [common, /^agent\/(exec|network|images|volumes)\//],
  },
  ...["exec", "network", "images", "volumes"].map((name) => ({
    files: new RegExp(`^agent/${name}/`),
    may: [common],
  })),
  {
    files: /^agent\/(?!exec\/containerd\/)/,
    may: [common],
  },
  { files: /^src\/engine\//, may: [common] },
  { files: /^src\/stack\//, may: [common] },
  { files: /^src\/cli\//, may: [common, /^src\/stack\//] },
  { files: /^src\/playground\//, may: [common] },
  {
    files: /^src\/node\//,
    may: [
      common,
      /^manager\/[^/]+\.ts$/,
      /^agent\/(agent|storage)\.ts$/,
      /^agent\/exec\/executor\.ts$/,
      /^agent\/network\//,
      /^agent\/exec\/containerd\//,
      /^src\/engine\//,
    ],
  },
  { files: /^src\/bin\//, may: [common, /^src\/(node|cli|playground)\//] },
  { files: /^(test|bench)\//, may: [/./] },
];

/** Imports that the table does not allow, and files that no layer knows. */
export function layerFaults(source: Source): Fault[] {
  const layer = layers.find((candidate) => candidate.files.test(source.path));
  if (layer === undefined) {
    return [{ path: source.path, line: 1, message: "is in no folder of the import table" }];
  }
  const faults: Fault[] = [];
  for (const { file, line } of source.imports) {
    if (file === undefined || layer.files.test(file)) continue;
    if (layer.may.some((allowed) => allowed.test(file))) continue;
    faults.push({ path: source.path, line, message: `must not import ${file}` });
  }
  return faults;
}

/** One fault per circle of imports, at its first file in alphabetical order. */
export function cycleFaults(sources: readonly Source[]): Fault[] {
  const edges = new Map(sources.map((source) => [source.path, source.imports]));
  const state = new Map<string, "open" | "done">();
  const stack: string[] = [];
  const faults: Fault[] = [];
  const visit = (path: string) => {
    state.set(path, "open");
    stack.push(path);
    for (const { file } of edges.get(path) ?? []) {
      if (file === undefined || !edges.has(file)) continue;
      if (state.get(file) === "open") {
        const circle = [...stack.slice(stack.indexOf(file)), file];
        faults.push({ path: file, line: 1, message: `imports itself: ${circle.join(" -> ")}` });
      } else if (!state.has(file)) visit(file);
    }
    stack.pop();
    state.set(path, "done");
  };
  for (const path of [...edges.keys()].sort()) if (!state.has(path)) visit(path);
  return faults;
}
