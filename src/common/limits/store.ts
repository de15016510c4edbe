/**
 * Limits of the replicated store (`manager/state`), each with its unit and its reason.
 */
import { proposalBytesMax } from "./limits.ts";

const kib = 1024;
const mib = 1024 * kib;

/** One transaction's bytes: an entry less the few bytes around it. */
export const transactionBytesMax = proposalBytesMax - 64;
/** A batch cuts its transactions at this size, so that one object more never makes one too large to propose. */
export const batchTransactionBytesMax = mib / 2;
/** Transactions of one batch that wait for commitment at a time: enough to fill the pipe, few enough to share it. */
export const batchTransactionsInFlightMax = 4;
/** Entries proposed and not yet applied: later transactions queue, and so share an entry. */
export const entriesInFlightMax = 16;
/** Longest a small transaction waits for the entry before it, to share the next one with others, milliseconds. */
export const entryGatherMs = 5;
/** Queued bytes that are an entry of their own: nothing is gained by sharing it. */
export const entryGatherBytesMax = 64 * kib;
/** How often a decision is run again after a lost race; more means that somebody writes the object all the time. */
export const updateAttemptsMax = 10;
/** Longest an update waits for its outcome, milliseconds; as long as an API request waits. */
export const outcomeWaitMs = 20_000;
/** How often waiting updates are looked at for their deadline, milliseconds. */
export const outcomeSweepMs = 1_000;
/** Proposers remembered in the state: one per life of a manager process, so 64 are weeks of leader changes. */
export const clientsMax = 64;
/** Transactions remembered per proposer: more than can be in flight, since that many wait for an outcome at most. */
export const clientSequencesMax = 16_384;
/** Updates of one store that wait for their outcome: below what the state remembers of a proposer. */
export const updatesWaitingMax = 8_192;
/** Changes one watcher may lag behind before it has to read everything again. */
export const watchBufferChangesMax = 20_000;
/** Commits kept for watchers that resume. */
export const historyCommitsMax = 10_000;
/** Changes kept for watchers that resume: old objects stay in memory as long. */
export const historyChangesMax = 50_000;
/** Longest piece of work on the main thread before others get a turn, milliseconds. */
export const sliceMs = 10;
/** Bytes of one chunk of a snapshot stream: large enough to be cheap, small enough not to delay others. */
export const snapshotChunkBytes = 128 * kib;
/** Longest record a snapshot may hold: the largest object is a config of 1 MB. */
export const snapshotRecordBytesMax = 4 * mib;
/** A checkpoint is written this often while there are changes, milliseconds: many states of a task become one write. */
export const checkpointPeriodMs = 5_000;
/** A checkpoint is written early when so many objects have changed: the batch is held in memory. */
export const checkpointDirtyMax = 20_000;
/** Without any changed object the applied index is still recorded after so many entries, so that the log can be cut. */
export const checkpointIdleEntriesMax = 2_000;
/** Bytes of one batch while a checkpoint is written anew after a snapshot. */
export const checkpointRewriteBytes = 4 * mib;
