/**
 * One of the two swarms that are compared: runs a scenario's steps by the docker command and keeps what it said, with
 * everything taken out that differs between two runs of the same program: ids, times, digests, the width of columns.
 */
import type { Playground } from "../../src/playground/playground.ts";
import { run } from "../../src/playground/run.ts";
import { until } from "../support/wait.ts";

/** One command of a scenario. */
export interface Step {
  /** Words after `docker`. */
  readonly words: readonly string[];
  /** The node it is given to; the manager when not named. */
  readonly on?: string;
  readonly input?: string;
  /** The command is repeated until its output, with what differs taken out, is like this; only the last time counts. */
  readonly until?: RegExp;
  /** Its output is not compared, only whether it worked. */
  readonly quiet?: boolean;
  /** Progress bars: only the lines that do not depend on when somebody looked. */
  readonly progress?: boolean;
  /** Of tasks, wherever the service has its slots: lines in any order, without numbers of slots and names of nodes. */
  readonly places?: boolean;
  /** Lines in any order. */
  readonly sorted?: boolean;
  /** Something that is done to the swarm before, such as cutting a node's power. */
  readonly before?: (lab: Playground) => Promise<void>;
}

/** What came of a step. */
export interface Said {
  readonly step: Step;
  readonly code: number;
  readonly text: string;
}

const stepMsMax = 60_000;
const untilMsMax = 45_000;

/** A swarm under comparison. */
export class Lane {
  readonly name: string;
  readonly lab: Playground;
  readonly #client: string;

  /** @param client Path of the docker command. */
  constructor(name: string, lab: Playground, client: string) {
    this.name = name;
    this.lab = lab;
    this.#client = client;
  }

  /** Runs a step; never rejects for a command that fails or a text that does not come. */
  async take(step: Step): Promise<Said> {
    await step.before?.(this.lab);
    let result = await this.#docker(step);
    const { until: wanted } = step;
    if (wanted !== undefined) {
      const isSo = async () => {
        result = await this.#docker(step);
        return wanted.test(masked(result.text));
      };
      // What it said last is compared all the same, and tells what is wrong.
      await until(isSo, { withinMs: untilMsMax, everyMs: 200, what: "" }).catch(() => {});
    }
    const text = step.quiet === true && result.code === 0 ? "" : normal(result.text, step);
    return { step, code: result.code, text };
  }

  /** What a command says, line by line, though nobody compares it. */
  async lines(words: readonly string[], on = "m1"): Promise<string[]> {
    const { text } = await this.#docker({ words, on });
    return text.split("\n").filter((line) => line !== "");
  }

  async #docker({ words, on = "m1", input }: Step): Promise<{ code: number; text: string }> {
    const { socket } = this.lab.node(on);
    const env = { ...process.env, DOCKER_HOST: `unix://${socket}`, DOCKER_API_VERSION: "1.41" };
    const options = { env, timeoutMs: stepMsMax, ...(input === undefined ? {} : { input }) };
    const { code, stdout, stderr } = await run([this.#client, ...words], options);
    return { code, text: `${stdout}${stderr}` };
  }
}

/** Longer forms first: what is masked is not looked at again. */
const masks: readonly (readonly [RegExp, string])[] = [
  [/\bsha256:[0-9a-f]{64}\b/g, "DIGEST"],
  [/\b[0-9a-f]{64}\b/g, "LONGID"],
  [/\b[0-9a-z]{25}\b/g, "ID"],
  [/\b(?=[a-z]*\d)[0-9a-z]{12}\b/g, "ID"],
  [/^[0-9a-z]{12}(?=\s{2,})/gm, "ID"],
  [/\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?\+0000 utc|Z)?/g, "TIME"],
  [/\b(less than a second|about an? (minute|hour)|\d+ (second|minute|hour)s?) ago\b/gi, "AGO"],
  [/\b10\.\d+\.\d+\.\d+(\/\d+)?\b/g, "ADDRESS"],
  [/("Index": )\d+/g, "$1N"],
  [/[ \t]{2,}/g, "  "],
  [/[ \t]+$/gm, ""],
];

function masked(text: string): string {
  return masks.reduce((rest, [what, by]) => rest.replaceAll(what, by), text);
}

function normal(text: string, { progress, sorted, places }: Step): string {
  // They are named by their ids, which are other ones each time.
  const named = masked(text).replace(/(?<=following services: ).*/, (names) =>
    names.split(", ").sort().join(", "),
  );
  let lines = named.trim().split("\n");
  if (progress === true) lines = outcomeOf(lines);
  if (places === true)
    lines = lines.map((line) =>
      line.replace(/\.\d+\b/, ".N").replace(/(?<=[ |])[mw]1(?=[ |])/, "NODE"),
    );
  if (sorted === true || places === true) lines.sort();
  return lines.join("\n");
}

/** Of a progress display: what it said besides bars, countdowns and counts, each once. */
function outcomeOf(lines: readonly string[]): string[] {
  const kept = lines.flatMap((line) => {
    const text = line.replaceAll("\r", "").trim();
    if (
      /\[[=> ]*\]/.test(text) ||
      /^(overall|verify|job) progress:|^active tasks:|^\d+\/\d+:/.test(text)
    )
      return [];
    return text.replace(/Waiting \d+ seconds?/, "Waiting N seconds");
  });
  return [...new Set(kept)];
}
