/**
 * What end-to-end tests of services ask of a lab: the docker command's rows of tasks, how an update ended, and, of the
 * kernel of each host, which processes there are and what is in their memory.
 */
import { equal } from "node:assert/strict";
import { ask } from "../../src/cli/api.ts";
import { runService } from "../../src/cli/service.ts";
import { runSwarm } from "../../src/cli/swarm.ts";
import { hostProcesses } from "./host-processes.ts";
import { memoryHas } from "./process-memory.ts";
import type { SwarmLab } from "./swarm-lab.ts";
import { until } from "./wait.ts";

/** One row of `docker service ps`. */
export interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly desired: string;
  readonly state: string;
  readonly error: string;
}

/** The part of a plan that is about images. */
export interface Tried {
  readonly Images: readonly {
    readonly Node: { readonly Hostname: string };
    readonly PullBytes: number;
    readonly TotalBytes: number;
  }[];
}

/** What tests of services in other files are given. */
export interface ServiceBench {
  readonly lab: () => SwarmLab;
  /** A busybox of the lab's registry. */
  readonly image: () => string;
  readonly tools: ReturnType<typeof serviceTools>;
}

/** The questions. @param lab It is up by the time one is asked, with managers m1 and m2. */
export function serviceTools(lab: () => SwarmLab) {
  async function rows(name: string): Promise<TaskRow[]> {
    const format =
      "{{.ID}}\t{{.Name}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}";
    const text = await lab().docker("m2", [
      "service",
      "ps",
      "--no-trunc",
      "--format",
      format,
      name,
    ]);
    return text.split("\n").flatMap((line) => {
      const [id = "", task = "", node = "", desired = "", state = "", error = ""] =
        line.split("\t");
      const [word = ""] = state.split(" ");
      return id === "" ? [] : [{ id, name: task, node, desired, state: word, error }];
    });
  }

  async function running(name: string, replicas: number, withinMs = 60_000): Promise<TaskRow[]> {
    let last: TaskRow[] = [];
    const found = await until(
      async () => {
        last = await rows(name);
        const up = last.filter(
          ({ desired, state }) => desired === "Running" && state === "Running",
        );
        return up.length === replicas && up;
      },
      {
        withinMs,
        everyMs: 100,
        get what() {
          return `${replicas} of ${name} running: ${JSON.stringify(last)}`;
        },
      },
    );
    return found;
  }

  /** How the update of a service ended. */
  async function updated(name: string): Promise<string> {
    const format = "{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}";
    return until(
      async () => {
        const text = await lab().docker("m1", ["service", "inspect", "--format", format, name]);
        return !/^(updating|rollback_started|):? /.test(text) && text;
      },
      { withinMs: 60_000, everyMs: 100, what: `the update of ${name} is over` },
    );
  }

  return {
    rows,
    running,
    complete: (name: string, count: number) => complete(() => rows(name), { name, count }),
    updated,
    skep: (...words: readonly string[]) => skep(lab(), words),
    volumesOf: (node: string) => volumesOf(lab(), node),
    tried: (body: object) => tried(lab(), body),
    processes: (host: string, begin: string) => processes(lab(), host, begin),
    processesWith: (host: string, text: string) => processesWith(lab(), host, text),
  };
}

/** The tasks of a job, once so many are complete. */
function complete(
  rows: () => Promise<TaskRow[]>,
  { name, count }: { readonly name: string; readonly count: number },
): Promise<TaskRow[]> {
  return until(
    async () => {
      const done = (await rows()).filter(
        ({ desired, state }) => `${desired} ${state}` === "Complete Complete",
      );
      return done.length === count && done;
    },
    { withinMs: 60_000, everyMs: 100, what: `${count} tasks of ${name} are complete` },
  );
}

/** Pids of the host's processes whose command line begins so. */
function processes(lab: SwarmLab, host: string, begin: string): number[] {
  return hostProcesses(lab, host)
    .filter(({ words }) => words.join(" ").startsWith(begin))
    .map(({ pid }) => pid);
}

/** What runs on a host and has a text in its memory. */
function processesWith(lab: SwarmLab, host: string, text: string): string[] {
  return hostProcesses(lab, host)
    .filter(({ folder }) => memoryHas(folder, text))
    .map(({ words }) =>
      words.some((word) => word.endsWith("skep.js")) ? "skep daemon" : words.join(" "),
    );
}

/** The project's own command, on m1. */
async function skep(lab: SwarmLab, words: readonly string[]): Promise<string> {
  let text = "";
  const say = (more: string) => {
    text += more;
  };
  const { socket } = lab.playground.node("m1");
  const [command, ...rest] = words;
  const run = command === "swarm" ? runSwarm : runService;
  const code = await run([...rest, "--host", `unix://${socket}`], {
    environment: {},
    out: say,
    fail: say,
  });
  equal(code, 0, text);
  return text;
}

/** Names of a node's volumes as managers know them. */
function volumesOf(lab: SwarmLab, node: string): Promise<string> {
  const words = ["volume", "ls", "--filter", `node=${node}`, "--format", "{{.Name}}"];
  return lab.docker("m1", words);
}

/** What a manager would do if it were to make a service. */
async function tried(lab: SwarmLab, body: object): Promise<Tried> {
  const host = `unix://${lab.playground.node("m2").socket}`;
  const request = { method: "POST", path: "/services/create?dryRun=true", body } as const;
  return JSON.parse((await ask({ host, environment: {} }, request)).text);
}
