/**
 * Standing for election and voting (thesis 3.4, 3.6.1, 9.6).
 */
import { jointVote } from "./quorum.ts";
import type { Raft } from "./raft.ts";
import { broadcastAppend } from "./replication.ts";
import { type Message, none } from "./types.ts";

/** Why an election is held: time ran out, it could be won (pre-vote), or the leader asked for it. */
export type Campaign = "pre-election" | "election" | "transfer";

/** Context of the vote requests of a leadership transfer. */
const transferMark = Uint8Array.of(1);

/** Whether a vote request comes of a leadership transfer, which the present leader wants and its lease must not stop. */
export function isTransferVote(request: Message): boolean {
  return request.context.length > 0;
}

/** Stands for election unless this member leads already or may not lead. */
export function startElection(r: Raft, campaign: Campaign): void {
  if (r.role === "leader") return;
  if (!r.promotable) {
    r.logger?.warn("not standing for election: not a voter, or a snapshot is pending");
    return;
  }
  // The change might add voters this member would not ask, or remove itself.
  if (r.log.hasConfChange(r.log.applied + 1, r.log.committed + 1)) {
    r.logger?.warn("not standing for election: a configuration change is not applied yet");
    return;
  }
  stand(r, campaign);
}

function stand(r: Raft, campaign: Campaign): void {
  const preVote = campaign === "pre-election";
  if (preVote) r.becomePreCandidate();
  else r.becomeCandidate();
  // A pre-vote asks for the term that would come, without entering it.
  const term = preVote ? r.term + 1 : r.term;
  const last = r.log.last();
  const context = campaign === "transfer" ? transferMark : new Uint8Array(0);
  for (const [id, { isLearner }] of r.members.progress) {
    if (isLearner) continue;
    if (id === r.id) {
      // Its own vote counts once it is durable, like those of others.
      r.send({ type: preVote ? "pre-vote-resp" : "vote-resp", to: id, term });
      continue;
    }
    const type = preVote ? "pre-vote" : "vote";
    r.send({ type, to: id, term, index: last.index, logTerm: last.term, context });
  }
}

/** Counts an answer to this candidate's request and acts on the outcome. */
export function countVote(r: Raft, answer: Message): void {
  if (!r.votes.has(answer.from)) r.votes.set(answer.from, !answer.reject);
  const { conf } = r.members;
  const result = jointVote(conf.voters, conf.votersOutgoing, r.votes);
  r.logger?.info(
    `member ${answer.from} ${answer.reject ? "refused" : "granted"} a ${answer.type}; ${result}`,
  );
  if (result === "lost") {
    // The answer to a pre-vote may carry the term asked for; this member has not entered it.
    r.becomeFollower(r.term, none);
  } else if (result === "won" && r.role === "pre-candidate") {
    stand(r, "election");
  } else if (result === "won") {
    r.becomeLeader();
    broadcastAppend(r);
  }
}

/**
 * Answers a request to vote, of this term or (pre-vote) a later one.
 *
 * Learners vote too: one that is asked has been promoted by a change it has yet to see.
 */
export function answerVote(r: Raft, request: Message): void {
  const preVote = request.type === "pre-vote";
  const type = preVote ? "pre-vote-resp" : "vote-resp";
  const free =
    r.vote === request.from ||
    (r.vote === none && r.leader === none) ||
    (preVote && request.term > r.term);
  const grant = free && r.log.isUpToDate({ index: request.index, term: request.logTerm });
  r.logger?.info(
    `${grant ? "granting" : "refusing"} ${request.type} of member ${request.from} at term ${request.term}`,
  );
  if (!grant) {
    r.send({ type, to: request.from, term: r.term, reject: true });
    return;
  }
  // The term of the request, not this member's: the asker of a pre-vote would ignore a lower one.
  r.send({ type, to: request.from, term: request.term });
  if (!preVote) {
    r.electionElapsed = 0;
    r.vote = request.from;
  }
}
