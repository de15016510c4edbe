/**
 * `skep stack …`: Compose files as services of the cluster. Parses the words and hands them to the command.
 */
import { parseArgs } from "node:util";
import { ClusterError, errorText } from "../../common/errors/cluster-error.ts";
import { readProject } from "../../stack/project.ts";
import { durationFrom } from "../../stack/units.ts";
import { defaultHost } from "../api.ts";
import { StackClient } from "./client.ts";
import { deploy } from "./deploy.ts";
import { exportStack } from "./export.ts";
import type { StackIo, StackOptions, StackRun } from "./io.ts";
import { localFiles } from "./local-files.ts";
import { logs } from "./logs.ts";
import { plan } from "./plan.ts";
import { config, list, remove, services, tasks } from "./show.ts";

/** What `skep stack help` prints. */
export const stackUsage = `Usage: skep stack COMMAND

Compose files (the current Compose Specification) as services of the cluster. Ask any manager.

Commands:
  deploy [-c FILE]... [STACK]   Make or change a stack; prints a warning for each key without effect
  plan [-c FILE]... [STACK]     Say what deploy would change, without changing it
  config [-c FILE]... [STACK]   Print the files as one, checked, with everything filled in
  export STACK                  Print a Compose file of what runs
  ls                            List stacks
  services STACK                List the services of a stack
  ps STACK                      List the tasks of a stack
  logs STACK                    Print what the tasks of a stack wrote
  rm STACK...                   Remove stacks

Files (deploy, plan, config):
  -c, --compose-file FILE    Put over those before it; - is standard input (compose.yaml, docker-compose.yml)
      --env-file FILE        Variables, in place of .env
      --profile NAME         Services of this profile, too (COMPOSE_PROFILES)
      --project-directory D  Where relative paths start from (the folder of the first file)

Deploying:
      --detach=false         Wait until the services have converged
      --prune                Remove services that the files do not have
      --resolve-image WHEN   Ask the registry for digests: always, changed or never (always)
      --with-registry-auth   Send the caller's credentials to the nodes
      --timeout TIME         Longest time a service waits for one it depends on (10m)
      --plan NUMBER          Refuse unless all is as it was for the plan with this number
  -q, --quiet                No warnings

Logs:
  -f, --follow               Go on with what comes
  -n, --tail LINES           Only the last lines of each task (all)

  -H, --host HOST            Daemon to ask (DOCKER_HOST, else ${defaultHost})
      --json                 For programs: ls, services, ps, plan, config

Exit code: 0 done, 1 failed, 2 wrong words; plan: 0 no change, 3 changes.
`;

const flags = {
  "compose-file": { type: "string", short: "c", multiple: true },
  "env-file": { type: "string", multiple: true },
  profile: { type: "string", multiple: true },
  "project-directory": { type: "string" },
  detach: { type: "string", short: "d" },
  prune: { type: "boolean" },
  "resolve-image": { type: "string" },
  "with-registry-auth": { type: "boolean" },
  timeout: { type: "string" },
  plan: { type: "string" },
  quiet: { type: "boolean", short: "q" },
  follow: { type: "boolean", short: "f" },
  tail: { type: "string", short: "n" },
  host: { type: "string", short: "H" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

const standardFiles = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const timeoutMsDefault = 600_000;

type Words = ReturnType<typeof parse>;

/** Runs the command; resolves with its exit code. Never rejects. */
export async function runStack(argv: readonly string[], io: StackIo): Promise<number> {
  try {
    const words = parse(argv);
    const [command = "help", ...names] = words.positionals;
    if (words.values.help === true || command === "help") {
      io.out(stackUsage);
      return 0;
    }
    const run = runOf(words, io);
    return await dispatch(command, names, run);
  } catch (error) {
    io.fail(`skep stack: ${errorText(error)}\n`);
    return isUsage(error) ? 2 : 1;
  }
}

async function dispatch(command: string, names: readonly string[], run: StackRun): Promise<number> {
  const [name] = names;
  const one = () => {
    if (name === undefined || names.length > 1)
      throw new ClusterError("invalid-argument", `${command}: name one stack`);
    return name;
  };
  if (names.length > 1 && command !== "rm") one();
  switch (command) {
    case "deploy":
    case "up":
      await deploy(run, name);
      return 0;
    case "plan":
      return (await plan(run, name)) ? 3 : 0;
    case "config":
      config(run, name);
      return 0;
    case "export":
      await exportStack(run, one());
      return 0;
    case "ls":
      await list(run);
      return 0;
    case "services":
      await services(run, one());
      return 0;
    case "ps":
      await tasks(run, one());
      return 0;
    case "logs":
      await logs(run, one());
      return 0;
    case "rm":
    case "down":
      if (name === undefined) one();
      await remove(run, names);
      return 0;
    default:
      run.io.fail(`skep stack has no command ${command}\n\n${stackUsage}`);
      return 2;
  }
}

function parse(argv: readonly string[]) {
  // Alone, it says what holds without it.
  const args = argv.map((word) => (word === "--detach" || word === "-d" ? "--detach=true" : word));
  return parseArgs({ args, allowPositionals: true, options: flags });
}

function runOf({ values }: Words, io: StackIo): StackRun {
  const host = values.host ?? (io.environment["DOCKER_HOST"] || defaultHost);
  return {
    io,
    options: optionsFrom(values),
    client: new StackClient({ host, environment: io.environment }),
    project: (name) => {
      const files = localFiles(io.folder);
      const standard = standardFiles
        .filter((file) => files.exists(files.resolve("", file)))
        .slice(0, 1);
      return readProject({
        name,
        paths: values["compose-file"]?.flatMap((path) => path.split(",")) ?? standard,
        envFiles: (values["env-file"] ?? []).map((path) => files.resolve("", path)),
        profiles:
          values.profile ??
          (io.environment["COMPOSE_PROFILES"] ?? "").split(",").filter((one) => one !== ""),
        projectFolder: values["project-directory"],
        environment: io.environment,
        files,
      });
    },
  };
}

function optionsFrom(values: Words["values"]): StackOptions {
  const bad = (flag: string, what: string) =>
    new ClusterError("invalid-argument", `--${flag} must be ${what}`);
  const resolveImage = (["always", "changed", "never"] as const).find(
    (one) => one === (values["resolve-image"] ?? "always"),
  );
  if (resolveImage === undefined) throw bad("resolve-image", "always, changed or never");
  const timeoutNs =
    values.timeout === undefined ? timeoutMsDefault * 1e6 : durationFrom(values.timeout);
  if (timeoutNs === undefined || timeoutNs <= 0) throw bad("timeout", "a time such as 10m");
  const { detach = "true", tail = "all", plan: index } = values;
  if (!["true", "false"].includes(detach)) throw bad("detach", "true or false");
  if (!/^(all|\d+)$/.test(tail)) throw bad("tail", "a number of lines, or all");
  if (index !== undefined && !/^\d+$/.test(index))
    throw bad("plan", "the number that plan printed");
  return {
    prune: values.prune ?? false,
    detach: detach === "true",
    quiet: values.quiet ?? false,
    json: values.json ?? false,
    follow: values.follow ?? false,
    withRegistryAuth: values["with-registry-auth"] ?? false,
    resolveImage,
    tail,
    timeoutMs: timeoutNs / 1e6,
    plan: index === undefined ? undefined : Number(index),
    filters: [],
  };
}

/** What `parseArgs` throws is a matter of the words. */
function isUsage(error: unknown): boolean {
  return (
    error instanceof TypeError &&
    String((error as { code?: unknown }).code).startsWith("ERR_PARSE_ARGS")
  );
}
