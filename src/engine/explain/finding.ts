/**
 * One thing that is not as it should be on the way to a service.
 */

/** What was found, and what helps. */
export interface Finding {
  /** Traffic is lost by a fault; a warning is odd, or about to pass. */
  readonly severity: "fault" | "warning";
  /** Name of the node it was found on; empty for what concerns the cluster. */
  readonly node: string;
  readonly what: string;
  readonly remedy: string;
  /** It may be a change that is on its way: to be looked at again before it is told. */
  readonly mayPass: boolean;
}

/** A fault with its remedy. */
export function fault(node: string, what: string, remedy: string): Finding {
  return { severity: "fault", node, what, remedy, mayPass: false };
}

/** Something odd, and what can be done. */
export function warning(node: string, what: string, remedy: string): Finding {
  return { severity: "warning", node, what, remedy, mayPass: false };
}
