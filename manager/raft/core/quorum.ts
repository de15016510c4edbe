/**
 * What a majority, or two majorities at once in the joint phase, have agreed on.
 *
 * Pure arithmetic over lists of voters; used for commits, elections, the check of the quorum and the confirmation of
 * reads. An empty list agrees to everything, so that an absent outgoing configuration never stands in the way.
 */

/** Outcome of a vote so far. */
export type VoteResult = "pending" | "lost" | "won";

/** Last index a voter has acknowledged, or `undefined` when it has not been heard of. */
export type AckedIndex = (voter: number) => number | undefined;

/** The highest index a majority of `voters` has acknowledged; Infinity when there are no voters. */
export function majorityIndex(voters: readonly number[], acked: AckedIndex): number {
  const count = voters.length;
  if (count === 0) return Number.POSITIVE_INFINITY;
  const sorted: number[] = [];
  for (const voter of voters) insertDescending(sorted, acked(voter) ?? 0);
  // In descending order the item at position n/2 is acknowledged by n/2 + 1 voters, the smallest majority.
  return sorted[count >> 1] ?? 0;
}

/** The highest index both majorities have acknowledged. */
export function jointIndex(
  incoming: readonly number[],
  outgoing: readonly number[],
  acked: AckedIndex,
): number {
  const first = majorityIndex(incoming, acked);
  return outgoing.length === 0 ? first : Math.min(first, majorityIndex(outgoing, acked));
}

/** Whether a majority of `voters` has said yes, can no longer do so, or may still. */
export function majorityVote(
  voters: readonly number[],
  votes: ReadonlyMap<number, boolean>,
): VoteResult {
  if (voters.length === 0) return "won";
  let yes = 0;
  let missing = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === undefined) missing++;
    else if (vote) yes++;
  }
  const needed = (voters.length >> 1) + 1;
  if (yes >= needed) return "won";
  return yes + missing >= needed ? "pending" : "lost";
}

/** Like `majorityVote` for two majorities that must both say yes. */
export function jointVote(
  incoming: readonly number[],
  outgoing: readonly number[],
  votes: ReadonlyMap<number, boolean>,
): VoteResult {
  const first = majorityVote(incoming, votes);
  const second = majorityVote(outgoing, votes);
  if (first === "lost" || second === "lost") return "lost";
  return first === "won" && second === "won" ? "won" : "pending";
}

/** Groups are small, so that inserting beats sorting. */
function insertDescending(sorted: number[], value: number): void {
  let at = sorted.length;
  sorted.push(value);
  while (at > 0) {
    const before = sorted[at - 1] ?? 0;
    if (before >= value) break;
    sorted[at] = before;
    at--;
  }
  sorted[at] = value;
}
