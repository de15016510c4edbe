/**
 * Limits of a node's dealings with containerd and containers, each with its unit and its reason. Times are milliseconds,
 * sizes bytes.
 */

const mib = 1024 * 1024;

/** One call to containerd: starting a container on a small board under load takes tens of seconds. */
export const containerdCallMs = 60_000;
/** One message: containerd itself takes 16 MiB. */
export const containerdMessageBytesMax = 64 * mib;
/** From its start to its first answer; a small board with many containers takes seconds. */
export const containerdStartMs = 30_000;
/** The same doubles with each start in a row that came to none, up to this: one that is ended too early is never ready. */
export const containerdStartMsMax = 600_000;
/** It ends within milliseconds; one that does not is killed. */
export const containerdStopMs = 5_000;
/** Pause before one that died is started again; doubles up to the longest. */
export const containerdPauseMs = 100;
/** Longest such pause; one that lived longer than this starts again at once. */
export const containerdPauseMsMax = 5_000;
/** One that does not answer for this long is started anew: containers live on. */
export const containerdSilentMs = 60_000;
/** What it logs is for people; more than this nobody reads. */
export const containerdLogBytesMax = 10 * mib;
/** Events of containers that wait for one slow reader; it is cut beyond. */
export const containerEventsWaitingMax = 4_096;
/** A container that was sent the kill ends within milliseconds, unless the kernel holds it: then the call gives up. */
export const containerKillMs = 10_000;
/** How often tasks are compared with what is known of them, should an event ever be lost. */
export const containerLookMs = 30_000;
/**
 * When a shim dies, containerd 1.6 no longer lists its tasks, clears up after it for up to 5 s, and tells their ends only then.
 * A task that is in no list for longer than this is gone.
 */
export const deadShimMs = 10_000;
/** A call that broke off because containerd died is taken up again this often. */
export const containerdRetriesMax = 3;
/** Whole seconds between stop signal and kill when nothing is said, as with Docker. */
export const stopTimeoutDefaultS = 10;
/** A manifest or configuration that is read whole; those of registries are bounded more strictly. */
export const imageBlobBytesMax = 8 * mib;
/** One message of a write to the content store; its size makes no difference to speed from 256 KiB on. */
export const contentMessageBytes = 1 * mib;
/** Messages of one write that containerd has not answered yet: memory per layer under way. */
export const contentMessagesUnderWayMax = 8;
/** What a pull, load or commit that never ends keeps from the collector is let go after this. */
export const imageLeaseMs = 24 * 60 * 60 * 1000;
/** Unpacking one layer: gigabytes onto the card of a small board. */
export const layerUnpackMs = 60 * 60 * 1000;
/** Making or mounting a container's own file system: tables of terabytes on the card of a small board. */
export const layerCommandMs = 2 * 60 * 1000;
/** How old what is known of the images may be; after changes of our own it is asked anew at once. */
export const imagesCatalogMs = 2_000;
/** Layers of one image that are downloaded at once, as Docker. */
export const layerDownloadsMax = 3;
/** Attempts to go on with a layer without a byte more between them, as Docker. */
export const layerAttemptsMax = 5;
/** Pause before the second such attempt; it grows with each. */
export const layerRetryMs = 1_000;
/** What a failed pull has downloaded is kept this long for the next one. */
export const pullLingerMs = 2 * 60 * 1000;
/** Least time between two reports of a transfer's progress, as Docker's client draws them. */
export const progressPeriodMs = 100;
/** How often leases that nobody uses any more are looked for. */
export const imagesSweepMs = 30_000;
/** Layers of one image that are uploaded at once, as Docker. */
export const layerUploadsMax = 5;
/** Lists and configurations of an archive that are kept in memory while it is read. */
export const archiveFilesBytesMax = 64 * mib;
