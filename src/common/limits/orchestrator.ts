/**
 * Limits and waits of the loops that make, replace and remove tasks, each with its unit and its reason. Times are
 * milliseconds.
 */

/** A new task waits this long at most for its predecessor to stop, as in Docker's swarm. */
export const predecessorWaitMs = 60_000;
/** Longest wait of the back-off: a service that was broken all night is back within five minutes of its repair. */
export const restartBackoffMaxMs = 5 * 60_000;
/** A task that ran this long was no early failure, and no shorter than it was held back: the back-off begins anew. */
export const restartBackoffResetMs = 60_000;
/** Changes of one command, and the states of many tasks, are taken together: the pause before they are looked at. */
export const settleMs = 5;
/** Pause after work that failed, a leader's loss say, before it is tried again. */
export const workRetryMs = 250;
/** Longest pause of a loop that has nothing to do; it looks at its deadlines again. */
export const idleMs = 5_000;
/** Old tasks are looked for this often, as in Docker's swarm. */
export const reapIntervalMs = 250;
/** ... or as soon as so many places have changed. */
export const reapDirtyMax = 1_000;
/** Tasks kept in a place, the present one included, where the cluster says nothing. */
export const taskHistoryDefault = 5;
/**
 * An image that was pushed again is looked up before an update of its service begins, so that tasks for which it is the same
 * stay; no longer than this, which is more than a registry is given to answer.
 */
export const manifestsPatienceMs = 10_000;
/** A start-first task that nobody can place gives up its place beside the old one after this. */
export const startFirstPatienceMs = 5_000;
/** A drained node's task is kept so long at most for a new one that is to start first: somebody waits for the node. */
export const handoverMsMax = 5 * 60_000;
/** ... and for so many new ones that end before they run: the next would, too. */
export const handoverAttemptsMax = 3;
/** Moves that one rebalance of a service makes at most: what is left is for the next. */
export const rebalanceMovesMax = 100;
/** ... and at a time, whatever the parallelism of its updates is: the cluster has other work. */
export const rebalanceMovesAtOnceMax = 5;
/** A node that joins or returns has come to rest, and others that come with it are there, after this. */
export const rebalanceSettleMs = 10_000;
/** A service whose tasks moved because of a node stays as it is for so long, however often nodes come and go. */
export const rebalanceCoolDownMs = 5 * 60_000;
/** An update goes on from its first places only when a new task ran this long: a command that fails at its start has by then. */
export const updateHoldMs = 500;
/** Runs of one job on a schedule that may go on at a time, where it allows several: what hangs must not fill the cluster. */
export const runsPerJobMax = 20;
/** Firings of schedules that were due so long ago are all made up for: elections, and clocks that differ, take less. */
export const cronCatchUpMs = 5 * 60_000;
/** Objects the allocator looks at before others have a turn: some milliseconds. */
export const allocationsPerSlice = 400;
/** How long a container that is attached by hand waits for its address; the allocator needs milliseconds. */
export const attachWaitMs = 10_000;
/** Networks given their subnets in one go: with a thousand networks some milliseconds. */
export const networksPerBatch = 10;
/** Old data of secrets and configs that no service may need again is looked for this often at most. */
export const payloadPruneMs = 2_000;
/** ... and this often where tasks alone still read some: all tasks are gone through. */
export const payloadSparedMs = 60_000;
