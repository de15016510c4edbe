/**
 * Wider receive windows for the accepting end of the streams between managers.
 *
 * HTTP/2 lets a sender have 64 KiB under way until the receiver says that it has taken them. grpc-js (1.14) has an option
 * for the dialling end only, so an append of a few hundred KiB would wait for several round trips. Its server keeps the
 * `node:http2` servers it made in a field of its own; their sessions take the settings of the public API. Should the
 * field be gone in another version, the streams are only slower, and a test tells.
 */
import type { ServerHttp2Session } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** An event source as `node:http2` servers are. */
interface SessionSource {
  on(event: "session", listener: (session: ServerHttp2Session) => void): void;
}

/**
 * Lets every connection that `server` takes from now on, through the injectors and ports it has, have `bytes` under way.
 *
 * @returns How many of its listeners were found; those seen before are not counted again.
 */
export function widenReceiveWindow(server: Server, bytes: number): number {
  let found = 0;
  for (const source of http2Servers(server)) {
    if (widened.has(source)) continue;
    widened.add(source);
    found++;
    source.on("session", (session) => {
      session.settings({ initialWindowSize: bytes });
      session.setLocalWindowSize(bytes);
    });
  }
  return found;
}

const widened = new WeakSet<SessionSource>();

function http2Servers(server: Server): SessionSource[] {
  const servers: unknown = Reflect.get(server, "http2Servers");
  return servers instanceof Map ? ([...servers.keys()] as SessionSource[]) : [];
}
