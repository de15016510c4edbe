/**
 * Whether a service's tasks are spread anew when a node joins or returns: a label of the service, else of the swarm. Pure.
 */

/** `auto`, or `off` for a service where the swarm says `auto`. */
export const rebalanceLabel = "skep.rebalance";

/** What the label may say. */
export const rebalanceValues = ["auto", "off"] as const;

type Labels = Readonly<Record<string, string>> | undefined;

/** Whether it happens by itself. */
export function rebalancesByItself(service: Labels, swarm: Labels): boolean {
  return (service?.[rebalanceLabel] ?? swarm?.[rebalanceLabel]) === "auto";
}
