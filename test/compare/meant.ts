/**
 * What is meant to differ from Docker's swarm: parts of texts that are made equal here, and whole answers, each with its
 * reason. docs/compatibility.md has a row for each that users may notice.
 */
import type { Said } from "./lane.ts";

interface Meant {
  /** Scenarios it is about; all when not given. */
  readonly scenario?: RegExp;
  readonly what: RegExp;
  readonly by: string;
  readonly why: string;
}

const meant: readonly Meant[] = [
  { what: /Invalid filter '/g, by: "invalid filter '", why: "so since Docker 23" },
  {
    scenario: /^refusals$/,
    what: /rpc error: code = InvalidArgument desc = (?=ContainerSpec: Retries)/g,
    by: "",
    why: "found before a manager is asked",
  },
  {
    scenario: /^jobs$/,
    what: /(Update|Rollback)Config:\n( .*\n)*|\s*"(Update|Rollback)Config": \{[^}]*\},/g,
    by: "",
    why: "jobs have no update: whoever sends these defaults back is refused",
  },
  {
    scenario: /^jobs$/,
    what: /rollback: manually requested rollback\n?/g,
    by: "",
    why: "a job that is rolled back runs again, without a roll-out",
  },
  {
    what: /failed to create task for container: /g,
    by: "",
    why: "so since Docker 24",
  },
  {
    what: /runc create failed: unable to start container process: /g,
    by: "",
    why: "the runtime's own words; ours prefers crun",
  },
  {
    scenario: /^updates$/,
    what: /(?<="PreviousSpec": \{[\s\S]*"Replicas": )2/g,
    by: "1",
    why: "an update to the same leaves the previous spec as it is, so that it can still be had back",
  },
  {
    scenario: /^lost$/,
    what: /(?<=non-zero exit \(255\)): the node went down while the container ran/g,
    by: "",
    why: "Docker does not say why",
  },
  {
    scenario: /^lost$/,
    what: /(?<=replicated {2})3(?=\/2)/g,
    by: "2",
    why: "what a lost node was last heard of does not run: clients before API 1.41 count so too",
  },
  {
    scenario: /^waits$/,
    what: /(?<=insufficient resources on \d+ nodes?): .*?\)(?=\)|; )/g,
    by: "",
    why: "Docker does not say of which resource",
  },
  {
    scenario: /^failures$/,
    what: /: it used more memory than its limit allows/g,
    by: "",
    why: "Docker does not say why",
  },
  {
    scenario: /^failures$/,
    what: /No such image: 10\.77[^"]*|Get "https[^"]*"[^"]*|No such image: ADDRESS[^"…]*…?/g,
    by: "NO IMAGE",
    why: "a registry's refusal is told, as since Docker 29",
  },
  {
    scenario: /^failures$/,
    what: /Failed AGO {2}"starting container failed: unable to find user/g,
    by: 'Rejected AGO  "unable to find user',
    why: "found before the container is made",
  },
  {
    scenario: /^failures$/,
    what: /Rejected AGO {2}"Cannot mkdir: [^"]*"|Failed AGO {2}"starting[^"]*chdir[^"]*"/g,
    by: "NO FOLDER",
    why: "found when the container starts",
  },
];

/** An answer that is meant to be another one. */
interface MeantAnswer {
  /** Words of the command. */
  readonly words: RegExp;
  readonly theirs: RegExp;
  readonly ours: RegExp;
  readonly why: string;
}

const answers: readonly MeantAnswer[] = [
  {
    words: /^service ps --filter desired-state=shutdown web$/,
    theirs: /^ID[^\n]*(\nID [^\n]* Shutdown {2}Shutdown AGO)+$/,
    ours: /^ID[^\n]*$/,
    why: "the history of a slot goes with it; in Docker's swarm with the next update of the service",
  },
  {
    words: /--rollback-max-failure-ratio 2/,
    theirs: /^ID$/,
    ours: /desc = TaskSpec: rollback-maxfailureratio cannot be less than 0 or bigger than 1$/,
    why: "a rollback is held to what an update is held to",
  },
  {
    words: /--stop-grace-period -1s/,
    theirs: /^ID$/,
    ours: /desc = ContainerSpec: stop-grace-period cannot be negative$/,
    why: "no time can be negative",
  },
  {
    words: /--network compared --network compared/,
    theirs: /^ID$/,
    ours: /desc = network compared is given more than once; name each network once$/,
    why: "tasks would fail, one after the other",
  },
  {
    words: /--template-driver odd/,
    theirs: /^ID$/,
    ours: /desc = template driver "odd" is not supported; use golang$/,
    why: "tasks that use it would be rejected",
  },
  {
    words: /(--hostname|--env) \S*\{\{/,
    theirs: /expanding (hostname|env) failed: .*template: expansion:/,
    ours: /expanding (hostname|env) failed: .*placeholder \{\{.* cannot be filled in: /,
    why: "ours are not the words of Go's template language",
  },
  {
    words: /secret create --driver odd/,
    theirs: /plugin "odd" not found$/,
    ours: /secret driver "odd" is not installed$/,
    why: "says what kind of driver",
  },
  {
    words: /network create --driver odd/,
    theirs: /plugin "odd" not found$/,
    ours: /network driver "odd" cannot be used in a swarm; use overlay, macvlan, ipvlan$/,
    why: "says which there are",
  },
  {
    words: /network create .*--subnet odd/,
    theirs: /Invalid subnet odd : invalid CIDR address: odd$/,
    ours: /ipam configuration: invalid subnet odd$/,
    why: "found by the manager",
  },
];

/** Whether two answers that differ are meant to. */
export function isMeant(theirs: Said, ours: Said): boolean {
  const words = theirs.step.words.join(" ");
  return answers.some(
    (one) => one.words.test(words) && one.theirs.test(theirs.text) && one.ours.test(ours.text),
  );
}

/** The text with what is meant to differ made equal. */
export function asMeant({ text }: Said, scenario: string): string {
  return meant.reduce(
    (rest, one) =>
      one.scenario?.test(scenario) === false ? rest : rest.replaceAll(one.what, one.by),
    text,
  );
}
