/**
 * Labels of a service that put its secrets and configs into the environment of its tasks. Pure.
 *
 * `skep.env.secret.PASSWORD=db_password` sets PASSWORD to what the secret db_password holds; `skep.env.config.MODE=mode` does
 * so with a config. The name is that of the secret or of its file, as a stack puts its own name before the former.
 */
import type { FileTarget } from "../api/generated/api.ts";
import type { PayloadKind } from "./payload-revision.ts";

/** What labels of this kind begin with, and what follows the kind. */
export const secretVariablePrefixes = ["skep.env.secret.", "skep.env.config."] as const;

/** One variable. */
export interface WantedVariable {
  readonly label: string;
  readonly kind: PayloadKind;
  readonly variable: string;
  /** Of the secret or config, or of its file. */
  readonly name: string;
}

/** The variables that labels ask for. */
export function secretVariablesIn(labels: Readonly<Record<string, string>>): WantedVariable[] {
  return Object.entries(labels).flatMap(([label, name]) => {
    const prefix = secretVariablePrefixes.find((one) => label.startsWith(one));
    if (prefix === undefined) return [];
    const kind = prefix === "skep.env.secret." ? "secret" : "config";
    return [{ label, kind, variable: label.slice(prefix.length), name }];
  });
}

/** Whether a reference is meant by a name. */
export function isCalled(
  { file }: { readonly file: FileTarget | undefined },
  ownName: string,
  name: string,
): boolean {
  return ownName === name || file?.name === name;
}
