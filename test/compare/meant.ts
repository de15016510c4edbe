/**
 * What is meant to differ from Docker's swarm: texts of both are made equal here, with the reason. docs/compatibility.md
 * has a row for each that users may notice.
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
    what: /Failed {2}AGO {2}"starting container failed: unable to find user/g,
    by: 'Rejected  AGO  "unable to find user',
    why: "found before the container is made",
  },
  {
    scenario: /^failures$/,
    what: /Rejected {2}AGO {2}"Cannot mkdir: [^"]*"|Failed {2}AGO {2}"starting[^"]*chdir[^"]*"/g,
    by: "NO FOLDER",
    why: "found when the container starts",
  },
];

/** The text with what is meant to differ made equal. */
export function asMeant({ text }: Said, scenario: string): string {
  return meant.reduce(
    (rest, one) =>
      one.scenario?.test(scenario) === false ? rest : rest.replaceAll(one.what, one.by),
    text,
  );
}
