/**
 * The instructions that `docker import --change` and `docker commit --change` take: lines of a Dockerfile that change only
 * the configuration. Pure.
 */
import { HealthConfig } from "../../src/common/api/generated/api.ts";
import type { ImageConfig } from "../../src/common/container/images.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";

/** The configuration after the instructions. @throws ClusterError `invalid-argument` naming the instruction */
export function applyChanges(config: ImageConfig, instructions: readonly string[]): ImageConfig {
  return instructions
    .flatMap((text) => text.replace(/\\\r?\n/g, " ").split("\n"))
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .reduce(applyChange, config);
}

function applyChange(config: ImageConfig, line: string): ImageConfig {
  const [, word = "", rest = ""] = /^(\S+)\s*([\s\S]*)$/.exec(line) ?? [];
  const name = word.toUpperCase();
  if (rest.trim() === "") {
    throw new ClusterError("invalid-argument", `${name} requires at least one argument: ${line}`);
  }
  const value = rest.trim();
  switch (name) {
    case "CMD":
      return { ...config, command: commandOf(value, config) };
    case "ENTRYPOINT":
      // As in a Dockerfile, the command that belonged to the former one goes.
      return { ...config, entrypoint: commandOf(value, config), command: [] };
    case "ENV":
      return { ...config, env: withEnv(config.env, pairsOf(value, name)) };
    case "LABEL":
      return {
        ...config,
        labels: { ...config.labels, ...Object.fromEntries(pairsOf(value, name)) },
      };
    case "EXPOSE":
      return {
        ...config,
        exposedPorts: added(config.exposedPorts, wordsOf(value).flatMap(portsOf)),
      };
    case "VOLUME":
      return { ...config, volumes: added(config.volumes, listOf(value) ?? wordsOf(value)) };
    case "USER":
      return { ...config, user: value };
    case "WORKDIR":
      return { ...config, workingDir: joined(config.workingDir, value) };
    case "STOPSIGNAL":
      return { ...config, stopSignal: value };
    case "SHELL":
      return { ...config, shell: listOf(value) ?? wrong(line, "SHELL takes a JSON list") };
    case "HEALTHCHECK":
      return { ...config, health: healthOf(value, line, config) };
    case "ONBUILD":
      return wrong(line, "ONBUILD is not supported: there is no build that would use it");
    default:
      return wrong(line, `${name} is not a valid change command`);
  }
}

/** A JSON list is run as it is, anything else by the shell. */
function commandOf(value: string, config: ImageConfig): readonly string[] {
  const shell = config.shell.length > 0 ? config.shell : ["/bin/sh", "-c"];
  return listOf(value) ?? [...shell, value];
}

function listOf(value: string): readonly string[] | undefined {
  if (!value.startsWith("[")) return undefined;
  try {
    const list: unknown = JSON.parse(value);
    const isList = Array.isArray(list) && list.every((item) => typeof item === "string");
    return isList ? (list as string[]) : undefined;
  } catch {
    // Not JSON: a line for the shell that begins with a bracket.
    return undefined;
  }
}

/** Words as the shell would split them: quotes hold together, a backslash takes the next character as it is. */
function wordsOf(value: string): string[] {
  const found: string[] = [];
  const word = /(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|((?:[^\s"'\\]|\\.)+))/gy;
  let current: string | undefined;
  let position = 0;
  while (position < value.length) {
    word.lastIndex = position;
    const match = word.exec(value);
    if (match === null) {
      if (current !== undefined) found.push(current);
      current = undefined;
      position++;
      continue;
    }
    const [all, double, single, plain] = match;
    current = (current ?? "") + (single ?? (double ?? plain ?? "").replace(/\\(.)/g, "$1"));
    position += all.length;
  }
  if (current !== undefined) found.push(current);
  return found;
}

/** `key=value …`, or the old form `key value`. */
function pairsOf(value: string, name: string): [string, string][] {
  const words = wordsOf(value);
  if (!(words[0] ?? "").includes("=")) {
    const [, key = "", rest = ""] = /^(\S+)\s+([\s\S]*)$/.exec(value) ?? [];
    if (key === "") return wrong(value, `${name} must have two arguments`);
    return [[key, rest]];
  }
  return words.map((text) => {
    const at = text.indexOf("=");
    if (at < 1) return wrong(text, `Syntax error - can't find = in ${JSON.stringify(text)}`);
    return [text.slice(0, at), text.slice(at + 1)];
  });
}

function withEnv(env: readonly string[], pairs: readonly [string, string][]): string[] {
  const map = new Map(env.map((entry) => [entry.split("=", 1)[0] ?? "", entry]));
  for (const [key, value] of pairs) map.set(key, `${key}=${value}`);
  return [...map.values()];
}

function portsOf(text: string): string[] {
  const match = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? from);
  if (match === null || from < 1 || to > 65_535 || to < from)
    return wrong(text, `Invalid containerPort: ${text}`);
  const protocol = (match[3] ?? "tcp").toLowerCase();
  return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${protocol}`);
}

function added(list: readonly string[], more: readonly string[]): string[] {
  return [...new Set([...list, ...more])];
}

function joined(before: string, path: string): string {
  return path.startsWith("/") ? path : `${before.replace(/\/$/, "")}/${path}`;
}

function healthOf(value: string, line: string, config: ImageConfig): HealthConfig {
  if (/^none$/i.test(value)) return HealthConfig.create({ test: ["NONE"] });
  const options = new Map<string, string>();
  let rest = value;
  for (;;) {
    const match = /^--([a-z-]+)=(\S+)\s+/.exec(rest);
    if (match === null) break;
    options.set(match[1] ?? "", match[2] ?? "");
    rest = rest.slice(match[0].length);
  }
  const [, command = ""] = /^CMD\s+([\s\S]+)$/i.exec(rest) ?? [];
  if (command === "") return wrong(line, "HEALTHCHECK takes NONE, or options and CMD");
  const list = listOf(command);
  const shell = config.shell.length > 0 ? ["CMD", ...config.shell] : ["CMD-SHELL"];
  const duration = (name: string) => {
    const text = options.get(name) ?? "0";
    const ns = parseDuration(text);
    return ns ?? wrong(line, `--${name}=${text} is no duration such as 30s`);
  };
  return HealthConfig.create({
    test: list === undefined ? [...shell, command] : ["CMD", ...list],
    intervalNs: duration("interval"),
    timeoutNs: duration("timeout"),
    startPeriodNs: duration("start-period"),
    startIntervalNs: duration("start-interval"),
    retries: Number(options.get("retries") ?? 0),
  });
}

const unitsNs: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Nanoseconds of a duration as Go writes them, such as `1m30s`; undefined when it is none. */
function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  return Math.round(
    parts.reduce((sum, [, count, unit]) => sum + Number(count) * (unitsNs[unit ?? ""] ?? 0), 0),
  );
}

function wrong(line: string, why: string): never {
  throw new ClusterError("invalid-argument", `${why} (in ${JSON.stringify(line.slice(0, 200))})`);
}
