/**
 * One question to one resolver, over UDP and over TCP, from the host's own network: also resolvers on its loopback answer.
 *
 * Each question has a socket of its own, so that its port is as hard to guess as the kernel makes it, and takes only what
 * comes from that resolver with the right id and question.
 */
import { createSocket, type Socket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import type { Resolver } from "./resolvers.ts";

/** A question on its way. */
export interface Exchange {
  readonly resolver: Resolver;
  /** The message as it goes out. */
  readonly message: Buffer;
  /** Whether bytes that came in are the answer; others are passed over. */
  readonly isAnswer: (response: Buffer) => boolean;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

const lengthBytes = 2;

/** @throws Error when the resolver cannot be reached, or the signal aborts. */
export function exchangeOverUdp(o: Exchange): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const { address, port } = o.resolver;
    let isOpen = true;
    const close = () => {
      if (isOpen) socket.close();
      isOpen = false;
      o.signal.removeEventListener("abort", abort);
    };
    const fail = (error: unknown) => {
      close();
      reject(error);
    };
    const abort = () => fail(o.signal.reason);
    if (o.signal.aborted) return reject(o.signal.reason);
    const socket: Socket = createSocket({
      type: isIPv6(address) ? "udp6" : "udp4",
      // Addresses only: there is nothing to look up, and no thread to wait for.
      lookup: (host, _options, found) => found(null, host, isIPv6(host) ? 6 : 4),
    });
    o.signal.addEventListener("abort", abort, { once: true });
    socket.on("error", fail);
    socket.on("message", (response) => {
      if (!o.isAnswer(response)) return;
      close();
      resolve(response);
    });
    socket.connect(port, address, () => {
      if (isOpen) socket.send(o.message);
    });
  });
}

/** @throws Error when the resolver cannot be reached, says something else, or the signal aborts. */
export function exchangeOverTcp(o: Exchange): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (o.signal.aborted) return reject(o.signal.reason);
    const socket = connect({ host: o.resolver.address, port: o.resolver.port });
    let received = Buffer.alloc(0);
    const end = () => {
      socket.destroy();
      o.signal.removeEventListener("abort", abort);
    };
    const fail = (error: unknown) => {
      end();
      reject(error);
    };
    const abort = () => fail(o.signal.reason);
    o.signal.addEventListener("abort", abort, { once: true });
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("the resolver closed the connection")));
    socket.on("data", (bytes) => {
      received = Buffer.concat([received, bytes]);
      const length = received.length < lengthBytes ? Infinity : received.readUInt16BE(0);
      if (received.length < lengthBytes + length) return;
      const response = received.subarray(lengthBytes, lengthBytes + length);
      if (!o.isAnswer(response)) return fail(new Error("the resolver answered another question"));
      end();
      resolve(response);
    });
    socket.write(framed(o.message));
  });
}

/** A message as it goes over a connection. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
