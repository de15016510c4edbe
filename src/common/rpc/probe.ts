/**
 * Whether somebody takes connections at an address: one is opened and closed at once, and nothing is said.
 */
import { connect, type NetConnectOpts } from "node:net";

/**
 * Never rejects. A refusal is an answer, too: the way there is free.
 *
 * @param address `host:port`, with brackets around an address of IPv6, or `unix:PATH`.
 */
export function isReached(
  address: string,
  o: { readonly withinMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  return new Promise((resolve) => {
    if (o.signal.aborted) return resolve(false);
    const socket = connect(optionsOf(address));
    const end = (isThere: boolean) => {
      clearTimeout(timer);
      o.signal.removeEventListener("abort", stop);
      socket.destroy();
      resolve(isThere);
    };
    const stop = () => end(false);
    const timer = setTimeout(stop, o.withinMs);
    o.signal.addEventListener("abort", stop, { once: true });
    socket.once("connect", () => end(true));
    socket.once("error", (error: NodeJS.ErrnoException) => end(error.code === "ECONNREFUSED"));
  });
}

function optionsOf(address: string): NetConnectOpts {
  if (address.startsWith("unix:")) return { path: address.slice("unix:".length) };
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return { host, port: Number(address.slice(colon + 1)) };
}
