/**
 * Whether the group can ever have a leader again, given which managers lost their logs. Pure.
 *
 * A manager that lost its log votes again only after the others have replaced it, for which they need a quorum
 * (`docs/decisions/0004-lost-tail.md`). When too many lost theirs, nobody can decide that but a person.
 */

/** What is known of one manager of the group. */
export interface KnownManager {
  readonly nodeId: string;
  readonly address: string;
  /** Whether it lost its log; undefined for one that has not been heard of. */
  readonly lost: boolean | undefined;
  /** How far its state reaches, as an index of the log. */
  readonly state: number;
}

/**
 * Why the group stands still for good and what to do about it, for the user; undefined while it may go on by itself.
 *
 * @param managers All that have a vote, each once.
 * @param self Node id of the manager this is said on.
 */
export function standstillText(
  managers: readonly KnownManager[],
  self: string,
): string | undefined {
  const lost = managers.filter((manager) => manager.lost === true);
  const quorum = Math.floor(managers.length / 2) + 1;
  if (managers.length - lost.length >= quorum) return undefined;
  const silent = managers.filter((manager) => manager.lost === undefined);
  const heard = managers.filter((manager) => manager.lost !== undefined);
  const best = heard.reduce((a, b) => (isBetter(b, a) ? b : a));
  const where = best.nodeId === self ? `this node (${best.nodeId})` : nameOf(best);
  return (
    `the managers cannot choose a leader any more: ${lost.length} of ${managers.length} lost their raft logs ` +
    `(${lost.map(({ nodeId }) => nodeId).join(", ")}). Run "docker swarm init --force-new-cluster" on ${where}, ` +
    "which has the newest state that was found, then have the other managers leave and join again" +
    silent
      .map((m) => `; ${nameOf(m)} has not been heard of: bring it back first if you can`)
      .join("")
  );
}

/** A log that is whole may hold more than any checkpoint. */
function isBetter(a: KnownManager, b: KnownManager): boolean {
  if (a.state !== b.state) return a.state > b.state;
  if (a.lost !== b.lost) return b.lost === true;
  return a.nodeId < b.nodeId;
}

function nameOf({ nodeId, address }: KnownManager): string {
  return `node ${nodeId} (${address})`;
}
