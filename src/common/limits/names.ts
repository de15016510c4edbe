/**
 * Limits of a node's name server, each with its unit and its reason. Times are milliseconds.
 */

/** How long an answer of ours may be kept, seconds: a task that goes is out of the answers within this everywhere. */
export const nameTtlS = 5;
/** Bytes of an answer over UDP to who says nothing of its size, as DNS has it. */
export const nameUdpBytes = 512;
/** Most over UDP, whatever is asked for: fits every path without fragments. */
export const nameUdpBytesMax = 1232;
/** Queries under way to other resolvers, as in Docker. */
export const nameForwardsMax = 1024;
/** Of these for one container, so that it cannot take them all. */
export const nameForwardsPerCallerMax = 256;
/** Queries a second of one container; more are dropped unread. A busy program without a cache asks for some hundred. */
export const nameQueriesPerSecondMax = 5000;
/** Of these at one moment: no more fit into a socket's usual buffer. */
export const nameQueriesAtOnceMax = 250;
/** The server's buffer of queries, bytes, as far as the machine allows: twice what is usual. A small one takes 768. */
export const nameBufferBytes = 4 * 1024 * 1024;
/** Connections of all containers. */
export const nameConnectionsMax = 512;
/** Connections of one container. */
export const nameConnectionsPerCallerMax = 64;
/** Queries of one connection under way; it is not read from meanwhile. */
export const nameQueriesPerConnectionMax = 16;
/** A connection on which nothing comes for this long is closed. */
export const nameConnectionIdleMs = 10_000;
/** Answers that one connection did not read yet, bytes; one that reads nothing is closed. */
export const nameUnreadBytesMax = 1024 * 1024;
/** After this the next resolver is asked as well; the first may still answer. */
export const nameForwardStepMs = 1000;
/** After this the asker is told that nobody answers; programs wait 5 s. */
export const nameForwardMs = 4500;
/** A resolver that did not answer is asked after the others for this long. */
export const nameResolverShunMs = 30_000;
/** Resolvers that are asked, as in the C library. */
export const nameResolversMax = 3;
/** How often the host's resolvers are looked up. */
export const nameResolversReadMs = 2000;
/** Pause before the server's sockets are tried to open again. */
export const nameListenRetryMs = 1000;
