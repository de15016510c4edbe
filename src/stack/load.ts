/**
 * From the files a user names to one tree: each is read, filled in, completed by what it includes and extends, and put over
 * those before it. Pure but for the files it is handed.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { composeFilesMax } from "../common/limits/stack.ts";
import { readDotenv } from "./dotenv.ts";
import { extendServices } from "./extends.ts";
import type { ProjectFiles, Warning } from "./files.ts";
import { includesOf } from "./include.ts";
import { interpolateNode } from "./interpolate.ts";
import { mergeFiles, withoutResets } from "./merge.ts";
import {
  type Entry,
  type MapNode,
  mapNode,
  type Place,
  placeText,
  refusal,
  type Source,
  withEntries,
} from "./node.ts";
import { readYaml } from "./read.ts";

/** Which files, and what their variables are. */
export interface ProjectRequest {
  /** Paths as the user wrote them, the first decides where paths start from. */
  readonly paths: readonly string[];
  /** Where paths start from, if it is not the folder of the first file. */
  readonly projectFolder?: string | undefined;
  /** In place of `.env`; later ones win. */
  readonly envFiles: readonly string[];
  /** Of the caller; wins over files of variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly files: ProjectFiles;
}

/** Everything the files say, before it is checked. */
export interface LoadedProject {
  readonly root: MapNode;
  readonly folder: string;
  readonly warnings: readonly Warning[];
  /** Environment and files of variables. */
  readonly variable: (name: string) => string | undefined;
}

const sections = ["services", "networks", "volumes", "secrets", "configs"];

/** @throws ClusterError with file, line and column of what is wrong. */
export function loadProject(request: ProjectRequest): LoadedProject {
  const { files, paths } = request;
  const [first] = paths;
  if (first === undefined)
    throw new ClusterError("invalid-argument", "no Compose file was given: name one with -c FILE");
  const resolved = paths.map((path) => (path === "-" ? "-" : files.resolve("", path)));
  const folder = files.resolve(
    "",
    request.projectFolder ?? (first === "-" ? "." : files.folderOf(resolved[0] ?? "")),
  );
  const loader = new Loader(files);
  const scope: Scope = {
    folder,
    variable: variablesOf({ ...request, folder }),
    chain: [],
  };
  const sources = resolved.map((path, i) => ({ path, name: paths[i] ?? path }));
  const root = withoutResets(loader.load(sources, scope));
  return { root, folder, warnings: loader.warnings, variable: scope.variable };
}

/** Variables of `.env` or of the files in its place, under those of the environment. */
function variablesOf(o: {
  readonly folder: string;
  readonly envFiles: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly files: ProjectFiles;
}): (name: string) => string | undefined {
  const outer = (name: string) =>
    Object.hasOwn(o.environment, name) ? o.environment[name] : undefined;
  return withEnvFiles(o.envFiles, { files: o.files, folder: o.folder, outer });
}

function withEnvFiles(
  paths: readonly string[],
  o: {
    readonly files: ProjectFiles;
    readonly folder: string;
    readonly outer: (name: string) => string | undefined;
  },
): (name: string) => string | undefined {
  const standard = o.files.resolve(o.folder, ".env");
  const chosen =
    paths.length > 0
      ? paths.map((path) => o.files.resolve(o.folder, path))
      : o.files.exists(standard)
        ? [standard]
        : [];
  const found = new Map<string, string | undefined>();
  const lookup = (name: string) => o.outer(name) ?? found.get(name);
  for (const path of chosen)
    for (const [key, value] of readDotenv(o.files.read(path), { name: path, outer: lookup }))
      if (value !== undefined) found.set(key, value);
  return lookup;
}

/** What holds for the files of one project or of one it includes. */
interface Scope {
  readonly folder: string;
  readonly variable: (name: string) => string | undefined;
  /** Files on the way here, for circles. */
  readonly chain: readonly string[];
  /** Where its files are named; not for those that the command names. */
  readonly from?: Place;
}

class Loader {
  readonly #files: ProjectFiles;
  readonly #warnings = new Map<string, Warning>();
  #filesRead = 0;

  constructor(files: ProjectFiles) {
    this.#files = files;
  }

  get warnings(): readonly Warning[] {
    return [...this.#warnings.values()];
  }

  load(
    sources: readonly { readonly path: string; readonly name: string }[],
    scope: Scope,
  ): MapNode {
    let root: MapNode | undefined;
    for (const { path, name } of sources) {
      const source = { name, folder: scope.folder };
      for (const document of this.#documents(path, source, scope, scope.from)) {
        const completed = this.#completed(document, { path, scope, before: root });
        root = root === undefined ? completed : mergeFiles(root, completed);
      }
    }
    return (
      root ??
      mapNode(new Map(), {
        source: { name: sources[0]?.name ?? "", folder: scope.folder },
        line: 1,
        column: 1,
      })
    );
  }

  #documents(path: string, source: Source, scope: Scope, from?: Place): readonly MapNode[] {
    this.#filesRead++;
    if (this.#filesRead > composeFilesMax)
      throw new ClusterError(
        "invalid-argument",
        `the project is made of more than ${composeFilesMax} files`,
      );
    const missing = (name: string, place: Parameters<typeof placeText>[0]) => {
      const text = `the ${JSON.stringify(name)} variable is not set; it stands for a blank string`;
      if (!this.#warnings.has(text)) this.#warnings.set(text, { place: placeText(place), text });
    };
    return readYaml(this.#text(path, from), source).map(
      (node) => interpolateNode(node, { lookup: scope.variable, missing }) as MapNode,
    );
  }

  /** @throws ClusterError as the files do, with where the file is named. */
  #text(path: string, from: Place | undefined): string {
    try {
      return this.#files.read(path);
    } catch (error) {
      if (from === undefined || !(error instanceof ClusterError)) throw error;
      throw refusal(from, error.message);
    }
  }

  #completed(
    document: MapNode,
    o: { readonly path: string; readonly scope: Scope; readonly before: MapNode | undefined },
  ): MapNode {
    const { path, scope, before } = o;
    const extended = extendServices(document, {
      path,
      before,
      open: (place, file) => {
        const other = this.#files.resolve(place.source.folder, file);
        const source = { name: shownPath(place.source, file), folder: this.#files.folderOf(other) };
        const merged = this.#documents(other, source, scope, place).reduce<MapNode | undefined>(
          (base, node) => (base === undefined ? node : mergeFiles(base, node)),
          undefined,
        );
        return { path: other, root: merged ?? mapNode(new Map(), { source, line: 1, column: 1 }) };
      },
    });
    return this.#withIncludes(extended, o);
  }

  #withIncludes(document: MapNode, o: { readonly path: string; readonly scope: Scope }): MapNode {
    let included: MapNode | undefined;
    const chain = [...o.scope.chain, o.path];
    for (const include of includesOf(document)) {
      const { place } = include;
      const sources = include.paths.map((path) => ({
        path: this.#files.resolve(place.source.folder, path),
        name: shownPath(place.source, path),
      }));
      const again = sources.find(({ path }) => chain.includes(path));
      if (again !== undefined)
        throw refusal(
          place,
          `include cycle detected: ${[...chain, again.path].join(" includes ")}`,
        );
      const folder =
        include.projectFolder === undefined
          ? this.#files.folderOf(sources[0]?.path ?? "")
          : this.#files.resolve(place.source.folder, include.projectFolder);
      const variable = withEnvFiles(
        include.envFiles.map((path) => this.#files.resolve(place.source.folder, path)),
        {
          files: this.#files,
          folder,
          outer: o.scope.variable,
        },
      );
      const node = this.load(sources, { folder, variable, chain, from: place });
      included = included === undefined ? node : joined(included, node);
    }
    const own = withEntries(
      document,
      new Map([...document.entries].filter(([key]) => key !== "include")),
    );
    return included === undefined ? own : joined(included, own);
  }
}

function shownPath(source: Source, path: string): string {
  const at = source.name.lastIndexOf("/");
  return at < 0 || path.startsWith("/") ? path : `${source.name.slice(0, at)}/${path}`;
}

/** Both together; what both say of one thing has to be the same thing. */
function joined(included: MapNode, own: MapNode): MapNode {
  const entries = new Map(own.entries);
  for (const section of sections) {
    const theirs = included.entries.get(section);
    const ours = own.entries.get(section);
    if (theirs?.value.kind !== "map") continue;
    if (ours === undefined || ours.value.kind !== "map") {
      entries.set(section, theirs);
      continue;
    }
    const both = new Map<string, Entry>(theirs.value.entries);
    for (const [name, entry] of ours.value.entries) {
      const other = both.get(name);
      if (other !== undefined && !isSame(other, entry))
        throw refusal(
          entry.place,
          `${section}.${name} conflicts with the one included from ${placeText(other.place)}; change what is included by a further -c file`,
        );
      both.set(name, entry);
    }
    entries.set(section, { ...ours, value: withEntries(ours.value, both) });
  }
  return withEntries(own, entries);
}

function isSame(one: Entry, other: Entry): boolean {
  const { place: a } = one;
  const { place: b } = other;
  return a.source.name === b.source.name && a.line === b.line && a.column === b.column;
}
