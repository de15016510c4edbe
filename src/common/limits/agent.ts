/**
 * Limits between agents and dispatcher, each with its unit and its reason.
 */
const kib = 1024;
const mib = 1024 * kib;

/** Error text in a task's status, characters: it is stored and shown; the log has the rest. */
export const taskErrorTextMax = 2 * kib;
/** One task's status as bytes: agents stay far below; what is larger is refused, so that it cannot hold up all others. */
export const taskStatusBytesMax = 16 * kib;
/** Statuses in one message of an agent: with the longest texts still below the message limit. */
export const taskStatusesPerMessageMax = 400;
/** Statuses of one session that wait for the leader; an agent that sends more is cut off and comes back. */
export const statusesWaitingPerSessionMax = 20_000;
/** Statuses in one batch to the leader, as in Docker's swarm. */
export const statusBatchMax = 10_000;
/** Bytes of one batch to the leader: room for the largest status below the message limit. */
export const statusBatchBytesMax = 2 * mib;
/** Objects in one assignment message. */
export const assignmentObjectsMax = 200;
/** Bytes of one assignment message; a single object may be larger, up to what a transaction takes. */
export const assignmentBytesMax = 512 * kib;
/** Messages to one agent that may wait for its reading; beyond it the session ends and the agent comes back. */
export const sessionMessagesWaitingMax = 256;
/** Objects in one message about the data path: an endpoint is some hundred bytes. */
export const networkObjectsMax = 2_000;
/** Changes of one network kept for the agents in it; one that is further behind is told everything. */
export const networkLogEntriesMax = 20_000;
/** Tasks read into the index of the data path before others have a turn: some milliseconds. */
export const networkIndexPerSlice = 2_000;
/** Changes after which what all agents are told is encoded anew, instead of being sent with each change after it. */
export const networkSharedLagMax = 500;
