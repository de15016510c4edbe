/**
 * A project → the text of one Compose file that says the same, with everything filled in. Pure.
 *
 * Reading the text gives the same project again: a dollar is doubled, as every other one begins a variable.
 */
import { stringify } from "yaml";
import type { ComposeProject } from "./model.ts";

/** Sections that are empty are left out. */
export function projectText(project: ComposeProject): string {
  const { name, services, ...sections } = project;
  const filled = Object.entries(sections).filter(
    ([, section]) => Object.keys(section ?? {}).length > 0,
  );
  const whole = {
    ...(name === undefined ? {} : { name }),
    services,
    ...Object.fromEntries(filled),
  };
  return stringify(escaped(whole), { lineWidth: 0, version: "1.1", aliasDuplicateObjects: false });
}

function escaped(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll("$", "$$$$");
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, escaped(field)]));
}
