/**
 * Every limit of the system in one place, each with its unit and its reason. Times are milliseconds, sizes bytes.
 */

const kib = 1024;
const mib = 1024 * kib;

/** One transaction holds at most this many changes, as in Docker's swarm; larger jobs use `batch`. */
export const transactionChangesMax = 200;
/** One Raft proposal; larger ones delay heartbeats on slow links. */
export const proposalBytesMax = 1.5 * mib;
/** Proposals that wait for commitment; beyond it writers are pushed back, so memory stays bounded. */
export const proposalsWaitingBytesMax = 64 * mib;
/** One RPC message; as Docker's swarm, so that no list may ride in one message unbounded. */
export const rpcMessageBytesMax = 4 * mib;
/** One HTTP request body of the Engine API other than streams: a config is at most 1 MB, in base64. */
export const httpBodyBytesMax = 4 * mib;
/** Longest an API request waits for the cluster, as Docker's daemon. */
export const apiRequestTimeoutMs = 20_000;
/** Secret data: Docker takes 1 to 511,999 bytes. */
export const secretBytesMax = 511_999;
/** Config data: Docker takes 1 to 1,023,999 bytes. */
export const configBytesMax = 1_023_999;
/** Highest node number: 16 bits less the two ends, as addresses are cut from /16 pools. */
export const nodeNumberMax = 65_534;
/** A freed node number rests this long, so that stale neighbours of the old node have gone. */
export const nodeNumberRestMs = 24 * 60 * 60 * 1000;
