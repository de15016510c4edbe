/**
 * From the files a user names to a project that is whole: read, checked, its profiles chosen, its variables known, and
 * everything it refers to there. Pure but for the files it is handed.
 */
import { ClusterError } from "../common/errors/cluster-error.ts";
import { readDotenv, readRawEnv } from "./dotenv.ts";
import type { ProjectFiles, Warning } from "./files.ts";
import { loadProject, type ProjectRequest } from "./load.ts";
import type { ComposeProject, ComposeService, Texts } from "./model.ts";
import { type Place, placeText, refusal } from "./node.ts";
import { checkReferences } from "./references.ts";
import { checkProject } from "./schema.ts";

/** What to read and how. */
export interface ReadRequest extends ProjectRequest {
  /** Wins over the name in the files. */
  readonly name?: string | undefined;
  /** Besides services without profile; `*` for all. */
  readonly profiles: readonly string[];
}

/** A project that can be turned into specs. */
export interface Project {
  readonly name: string;
  readonly model: ComposeProject;
  readonly warnings: readonly Warning[];
  /** Refuses at the place of a path. */
  readonly fail: (path: string, message: string) => ClusterError;
  readonly placeOf: (path: string) => string;
  readonly variable: (name: string) => string | undefined;
  readonly files: ProjectFiles;
}

/** @throws ClusterError invalid-argument with file, line and column. */
export function readProject(request: ReadRequest): Project {
  const { root, folder, warnings, variable } = loadProject(request);
  const heard: Warning[] = [...warnings];
  const places = new Map<string, Place>();
  const { files } = request;
  const checked = checkProject(root, {
    warn: (place, text) => heard.push({ place: placeText(place), text }),
    places,
    resolve: (base, path) => files.resolve(base, path),
  });
  const placeAt = (path: string) => nearest(places, path) ?? root.place;
  const fail = (path: string, message: string) => refusal(placeAt(path), message);
  const chosen = { ...checked, services: withProfiles(checked.services, request.profiles) };
  checkReferences(chosen, { all: checked.services, fail });
  const services = Object.entries(chosen.services).map(([key, service]) => {
    const path = `services.${key}`;
    return [key, completed(service, { files, variable, fail, path })] as const;
  });
  const name = request.name ?? checked.name ?? variable("COMPOSE_PROJECT_NAME");
  return {
    name: checkedName(name, folder),
    model: { ...chosen, name, services: Object.fromEntries(services) } as ComposeProject,
    warnings: heard,
    fail,
    placeOf: (path) => placeText(placeAt(path)),
    variable,
    files,
  };
}

function nearest(places: ReadonlyMap<string, Place>, path: string): Place | undefined {
  for (let at = path; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf(".")))) {
    const place = places.get(at);
    if (place !== undefined) return place;
  }
  return undefined;
}

function checkedName(name: string | undefined, folder: string): string {
  if (name === undefined || name === "")
    throw new ClusterError(
      "invalid-argument",
      `the stack has no name: give it one on the command line, or by "name:" in the file (such as ${folder.slice(folder.lastIndexOf("/") + 1) || "shop"})`,
    );
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(name))
    throw new ClusterError(
      "invalid-argument",
      `invalid stack name ${JSON.stringify(name)}: letters, digits, - and _, up to 63 of them, the first a letter or digit`,
    );
  return name;
}

function withProfiles(
  services: Readonly<Record<string, ComposeService>>,
  profiles: readonly string[],
): Record<string, ComposeService> {
  const isWanted = (service: ComposeService) =>
    (service.profiles ?? []).length === 0 ||
    profiles.includes("*") ||
    (service.profiles ?? []).some((profile) => profiles.includes(profile));
  return Object.fromEntries(Object.entries(services).filter(([, service]) => isWanted(service)));
}

interface Completing {
  readonly files: ProjectFiles;
  readonly variable: (name: string) => string | undefined;
  readonly fail: (path: string, message: string) => ClusterError;
  readonly path: string;
}

/** With the variables and labels of its files. */
function completed(service: ComposeService, o: Completing): ComposeService {
  const { env_file: envFiles = [], label_file: labelFiles = [], ...rest } = service;
  const environment: Record<string, string | null> = {};
  for (const { path, required, format } of envFiles) {
    if (!required && !o.files.exists(path)) continue;
    const text = readOf(path, "env_file", o);
    const found =
      format === "raw" ? readRawEnv(text) : readDotenv(text, { name: path, outer: o.variable });
    for (const [key, value] of found) environment[key] = value ?? null;
  }
  for (const [key, value] of Object.entries(service.environment ?? {}))
    environment[key] = value ?? o.variable(key) ?? null;
  const labels: Record<string, string> = {};
  for (const path of labelFiles)
    for (const [key, value] of readDotenv(readOf(path, "label_file", o), {
      name: path,
      outer: () => undefined,
    }))
      labels[key] = value ?? "";
  const allLabels: Texts = { ...labels, ...service.labels };
  return {
    ...rest,
    ...(Object.keys(environment).length > 0 && { environment }),
    ...(Object.keys(allLabels).length > 0 && { labels: allLabels }),
  };
}

function readOf(path: string, key: string, o: Completing): string {
  try {
    return o.files.read(path);
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    throw o.fail(`${o.path}.${key}`, `${o.path}.${key}: ${error.message}`);
  }
}
