/**
 * The calling side of a direct stream: a connection to one manager for one call, without HTTP/2
 * (`docs/decisions/0012-direct-streams.md`).
 *
 * The first frame is the path of the method, the others are messages; the last one that the server sends says how the call
 * ended.
 */
import { connect, type TLSSocket } from "node:tls";
import type { MethodDescriptor } from "../api/generated/api.ts";
import { ClusterError, errorText } from "../errors/cluster-error.ts";
import { managerServerName, type TlsMaterial } from "../identity/types.ts";
import type { Expected } from "../identity/verify.ts";
import type { ClientStream } from "./channel.ts";
import { directProtocol, refusalOf } from "./credentials.ts";
import { FrameStream } from "./frame-stream.ts";
import { errorFromBytes } from "./status.ts";

/** Whom to call, and how. */
export interface DirectOptions {
  /** `host:port`; an IPv6 host in brackets. */
  readonly address: string;
  readonly tls: TlsMaterial;
  /** What the server's certificate must say. */
  readonly expected: Expected;
  /** Gives the call up. */
  readonly signal?: AbortSignal;
}

/** Connects and calls; what goes wrong is thrown where the stream is read. */
export function openDirect<Q, R>(
  method: MethodDescriptor<Q, R>,
  options: DirectOptions,
): ClientStream<Q, R> {
  const { signal } = options;
  const socket = dialDirect(options);
  let isGivenUp = false;
  const cancel = () => {
    isGivenUp = true;
    socket.destroy();
  };
  if (signal?.aborted) cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  socket.once("close", () => signal?.removeEventListener("abort", cancel));
  const opening = opened(socket, method.path, options.address);
  opening.catch(() => {
    // Whoever reads or writes is told.
  });
  const failure = (error: unknown) =>
    isGivenUp ? new ClusterError("cancelled", "the call was given up", { cause: error }) : error;
  const responses = read<R>(opening, { socket, decode: method.response.decode, failure });
  return {
    write: (message) =>
      opening
        .then((frames) => frames.write(method.request.encode(message)))
        .catch((error: unknown) => {
          throw failure(error);
        }),
    end: () => {
      opening
        .then((frames) => frames.write(new Uint8Array(0), true))
        .catch(() => {
          // The reader is told.
        });
    },
    cancel,
    [Symbol.asyncIterator]: () => responses,
  };
}

function dialDirect({ address, tls, expected }: DirectOptions): TLSSocket {
  const colon = address.lastIndexOf(":");
  const socket = connect({
    host: address.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(address.slice(colon + 1)),
    servername: managerServerName,
    ALPNProtocols: [directProtocol],
    ca: tls.roots,
    key: tls.key,
    cert: tls.certificate,
    checkServerIdentity: (_host, certificate) => refusalOf(certificate, expected),
  });
  return socket.setNoDelay(true);
}

/** Resolves once the other end has shown who it is, and not before anything is said to it. */
function opened(socket: TLSSocket, path: string, address: string): Promise<FrameStream> {
  return new Promise((resolve, reject) => {
    const fail = (cause?: unknown) => {
      const why = cause === undefined ? "it hung up" : errorText(cause);
      const text = `no connection to the manager at ${address}: ${why}`;
      reject(new ClusterError("unavailable", text, { cause }));
    };
    socket.once("error", fail);
    socket.once("close", () => fail());
    socket.once("secureConnect", () => {
      const frames = new FrameStream(socket);
      frames.write(Buffer.from(path)).then(() => resolve(frames), reject);
    });
  });
}

/** The responses; a reader that stops before the end gives the call up. */
async function* read<R>(
  opening: Promise<FrameStream>,
  o: {
    readonly socket: TLSSocket;
    readonly decode: (bytes: Uint8Array) => R;
    readonly failure: (error: unknown) => unknown;
  },
): AsyncGenerator<R, void, void> {
  try {
    const frames = await opening;
    for (;;) {
      const { bytes, isLast } = await frames.next();
      if (isLast) {
        const error = errorFromBytes(bytes);
        if (error !== undefined) throw error;
        return;
      }
      yield o.decode(bytes);
    }
  } catch (error) {
    throw o.failure(error);
  } finally {
    o.socket.destroy();
  }
}
