/**
 * One TCP connection of a container to the name server: messages with their length before them, several at a time.
 */
import type { Socket } from "node:net";
import {
  nameConnectionIdleMs,
  nameQueriesPerConnectionMax,
  nameUnreadBytesMax,
} from "../../../src/common/limits/names.ts";
import { framed } from "./exchange.ts";

const lengthBytes = 2;

/** Answers until either side closes. @param respond Never rejects; undefined closes the connection. */
export function serveConnection(
  connection: Socket,
  respond: (message: Buffer) => Promise<Buffer | undefined>,
): void {
  // At most one message that is not complete, and what came with its last piece.
  let received = Buffer.alloc(0);
  let underWay = 0;
  let isOver = false;
  const close = () => {
    connection.destroy();
  };
  const work = () => {
    while (underWay < nameQueriesPerConnectionMax) {
      const message = firstMessage(received);
      if (message === undefined) break;
      received = received.subarray(lengthBytes + message.length);
      underWay++;
      void respond(message).then((response) => {
        underWay--;
        if (connection.destroyed) return;
        if (response !== undefined) connection.write(framed(response));
        if (response === undefined || connection.writableLength > nameUnreadBytesMax) close();
        else work();
      });
    }
    if (underWay >= nameQueriesPerConnectionMax) connection.pause();
    else connection.resume();
    // It said all it wants to know, and has all answers.
    if (isOver && underWay === 0) connection.end();
  };
  connection.setTimeout(nameConnectionIdleMs, close);
  connection.on("error", close);
  connection.on("data", (bytes) => {
    received = Buffer.concat([received, bytes]);
    work();
  });
  connection.on("end", () => {
    isOver = true;
    work();
  });
}

function firstMessage(received: Buffer): Buffer | undefined {
  if (received.length < lengthBytes) return undefined;
  const length = received.readUInt16BE(0);
  if (received.length < lengthBytes + length) return undefined;
  return received.subarray(lengthBytes, lengthBytes + length);
}
