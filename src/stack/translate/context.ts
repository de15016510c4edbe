/**
 * What turning a project into specs works with. Pure.
 */
import type { ClusterError } from "../../common/errors/cluster-error.ts";
import type { ComposeProject } from "../model.ts";

/** Marks everything of a stack, as the stock client does. */
export const namespaceLabel = "com.docker.stack.namespace";
/** The image as the file says it, on services. */
export const imageLabel = "com.docker.stack.image";

/** A body of a request to the Engine API. */
export type Body = Readonly<Record<string, unknown>>;

/** The stack that is made. */
export interface StackContext {
  readonly stack: string;
  readonly model: ComposeProject;
  readonly fail: (path: string, message: string) => ClusterError;
  readonly warn: (path: string, text: string) => void;
}

/** One service of it. */
export interface ServiceContext extends StackContext {
  readonly key: string;
  /** `services.web`. */
  readonly path: string;
}

/** `shop_web`, unless the file gives a name of its own. */
export function objectName(stack: string, key: string, own?: string): string {
  return own !== undefined && own !== "" ? own : `${stack}_${key}`;
}

/** Labels of the file with that of the stack. */
export function stackLabels(
  stack: string,
  labels: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return { ...labels, [namespaceLabel]: stack };
}

/** Without the keys that have no value. */
export function present(fields: Readonly<Record<string, unknown>>): Body {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** By Unicode code units, as Go sorts. */
export function byText(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
