/**
 * Limits of the streams between managers and nodes, each with its unit and its reason. Times are milliseconds, sizes bytes.
 */

const kib = 1024;

/** How long a container that is not here is looked for in the cluster; without a leader that is in vain. */
export const farLookupMs = 1_000;
/** Execs on other nodes that a manager remembers it made; the oldest are forgotten. */
export const farExecsMax = 10_000;
/** One piece of a tunnel: what Node's sockets read at once, far below a message's limit. */
export const tunnelFrameBytesMax = 64 * kib;
/** A node that has not dialled within this cannot be reached; whoever asked is told within 2 s. */
export const tunnelOpenMs = 1_500;
/** The session of this manager may be a dead one: the other managers are asked after this, too. */
export const tunnelAskOthersMs = 300;
/** An agent sends something this often over each tunnel, so that its silence means something. */
export const tunnelBeatMs = 600;
/** A tunnel silent for this long is said to be; two beats of three may be late. */
export const tunnelSilentMs = 1_800;
/** ... and for this long is cut: a slow board under load is not silent for as long as this. */
export const tunnelDeadMs = 10_000;
/** Tunnels of one manager, asked for or open: as many as connections to its API. */
export const tunnelsPerManagerMax = 4_096;
/** Connections to other managers that are kept: there are seven managers at most, and some have moved. */
export const rpcClientsKeptMax = 16;
/** Tunnels one node has open: one connection carries a thousand calls. */
export const tunnelsPerNodeMax = 1_000;
/** Records of followed logs wait this long for older ones of other nodes: several ways round a cluster. */
export const logHoldMs = 200;
/** Records of one log that wait so. */
export const logReorderRecordsMax = 1_000;
/** Bytes of all records that wait so; beyond, the oldest go at once. */
export const logReorderBytesMax = 8 * 1024 * kib;
/** Tasks whose logs are shown at once, the newest: each takes a stream to its node. */
export const logTasksMax = 1_000;
/** Pause before the log of a task on a node that could not be reached is asked for again. */
export const logRetryMs = 2_000;
