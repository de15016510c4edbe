/**
 * Limits of a node's dealings with containerd and containers, each with its unit and its reason. Times are milliseconds,
 * sizes bytes.
 */

const mib = 1024 * 1024;

/** One call to containerd: starting a container on a small board under load takes tens of seconds. */
export const containerdCallMs = 60_000;
/** One message: containerd itself takes 16 MiB. */
export const containerdMessageBytesMax = 64 * mib;
