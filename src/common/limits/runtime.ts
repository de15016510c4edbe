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
/** A call that broke off because containerd died is taken up again this often. */
export const containerdRetriesMax = 3;
/** Whole seconds between stop signal and kill when nothing is said, as with Docker. */
export const stopTimeoutDefaultS = 10;
