/**
 * Compose files in memory, for tests of `src/stack`.
 */
import { posix } from "node:path";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import type { ProjectFiles } from "../../src/stack/files.ts";
import { type Project, readProject } from "../../src/stack/project.ts";
import type { Body } from "../../src/stack/translate/context.ts";
import { type StackSpecs, stackSpecs } from "../../src/stack/translate/stack.ts";

/** What a test says of a project; the first file is the one that is named, unless `paths` says so. */
export interface TestProject {
  readonly files: Readonly<Record<string, string>>;
  readonly paths?: readonly string[];
  readonly name?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly envFiles?: readonly string[];
  readonly profiles?: readonly string[];
}

/** Files under `/p`. */
export function memoryFiles(files: Readonly<Record<string, string>>): ProjectFiles {
  const read = (path: string) => {
    const text = files[posix.relative("/p", path)];
    if (text === undefined)
      throw new ClusterError("not-found", `open ${path}: no such file or directory`);
    return text;
  };
  return {
    read,
    readBase64: (path) => Buffer.from(read(path)).toString("base64"),
    exists: (path) => files[posix.relative("/p", path)] !== undefined,
    resolve: (folder, path) =>
      posix.resolve("/p", folder, path.startsWith("~") ? `/mine${path.slice(1)}` : path),
    folderOf: posix.dirname,
  };
}

/** @throws ClusterError as `readProject` does. */
export function projectOf(test: TestProject): Project {
  const [first = "compose.yaml"] = Object.keys(test.files);
  return readProject({
    name: test.name ?? "shop",
    paths: test.paths ?? [first],
    environment: test.environment ?? {},
    envFiles: test.envFiles ?? [],
    profiles: test.profiles ?? [],
    files: memoryFiles(test.files),
  });
}

/** The project of one file. */
export function projectOfText(text: string, rest: Omit<TestProject, "files"> = {}): Project {
  return projectOf({ files: { "compose.yaml": text }, ...rest });
}

/** Specs of one file. */
export function specsOfText(text: string, rest: Omit<TestProject, "files"> = {}): StackSpecs {
  return stackSpecs(projectOfText(text, rest));
}

/** The body of service `a` of a file whose service says these lines, image aside. */
export function serviceOf(lines: string, more = ""): Body {
  const indented = lines.replace(/^/gm, "    ");
  const [service] = specsOfText(`services:\n  a:\n    image: i\n${indented}\n${more}`).services;
  return service?.body ?? {};
}

/** The message of what a call refuses; empty when it does not. */
export function refusalOf(call: () => unknown): string {
  try {
    call();
    return "";
  } catch (error) {
    return errorText(error);
  }
}
