/**
 * Limits of a node's data path, each with its unit and its reason. Times are milliseconds.
 */

/** One batch of `ip`, `bridge` or `nft`: thousands of entries take a tenth of a second; one that hangs is ended. */
export const networkCommandMs = 30_000;
/** How often the kernel is compared with the plan, should another program have changed it. */
export const networkLookMs = 30_000;
/** How often the kernel is asked whether others changed tables of rules or the device to the other nodes. */
export const networkGlanceMs = 1_000;
/** Pause before what failed is tried again; doubles up to `networkLookMs`. */
export const networkRetryMs = 500;
/** Longest a manager waits for the kernels of all nodes, whatever the task that is to stop would wait for. */
export const networkSettleMsMax = 60_000;
/** How long a container that starts waits for the managers to tell of a network of its task. */
export const networkWaitMs = 20_000;
/** What nobody uses any more goes after this: containers often follow each other. */
export const networkLingerMs = 1_000;
/** Containers whose namespaces are looked into at one comparison; by programs each costs two of some milliseconds. */
export const sandboxLooksMax = 8;
/** Connections through one port that the kernel cannot lead: each costs two sockets of the daemon. */
export const relayConnectionsMax = 1024;
/** How long such a connection waits for the container to answer. */
export const relayConnectMs = 10_000;
/** From when the managers tell of a node's next key until it uses that: all others have heard of it by then. */
export const wireguardHoldMs = 10_000;
/** How often the tunnel is looked at while the key of another node changes: it may have gone over to the next one. */
export const wireguardLookMs = 500;
/** After that a change is one of a node that is away: then looks are rarer, until it is back or removed. */
export const wireguardWatchMs = 120_000;
/** How often the tunnel is looked at then. */
export const wireguardRareLookMs = 5_000;
/** From the start of wireguard-go to its device; a loaded machine takes a second. */
export const wireguardStartMs = 10_000;
/** How long a probe waits for an answer: a round over a slow line takes a tenth of it, and a person waits for the whole. */
export const probeMs = 1_000;
/** Probes one node makes for one question; each is a socket. */
export const probesMax = 500;
/** What differs is looked at again after this: what a change under way explains is gone then. */
export const lookAgainMs = 400;
/** Containers of a node whose namespaces are read for one question. */
export const looksMax = 16;
/** Differences of one node that are told; more mean that everything is missing. */
export const differencesMax = 50;
/**
 * How long frames go past a bridge the way the last one took that it led, nanoseconds: an endpoint that moves is found after
 * this, and one frame in that time costs nothing.
 */
export const routeHoldNs = 100_000_000;
/**
 * How long packets of a stream go past rules the way the last one took that passed them, nanoseconds: a change that is not the
 * daemon's own counts after this.
 */
export const streamHoldNs = 250_000_000;
/**
 * How long tracking keeps a stream of which it has missed packets and hears nothing more, seconds: one that idles for a night goes on,
 * and those whose clients vanish do not fill its table. The kernel's own are five minutes, as it takes data for lost then.
 */
export const missedStreamS = 86_400;
/** More packets of a stream than this pass rules within that time before others go past them. */
export const streamPacketsMin = 64;
/** Containers of a node whose connections to service addresses programs lead; those of more are led by rules. */
export const connectSpacesMax = 4_096;
/** Backends and services that the programs know, of all networks of a node: the kernel sets 2 MB aside to find them. */
export const connectBackendsMax = 131_072;
