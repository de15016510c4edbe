/**
 * Opens connections, as many a second as it can, or answers them: in the network of a task or a host, for `network.ts`.
 */
import { connect, createServer } from "node:net";
import { answerParent } from "./child.ts";

/** What it is asked. */
export type CallsRequest =
  | { readonly type: "serve"; readonly port: number }
  | {
      readonly type: "call";
      readonly host: string;
      readonly port: number;
      readonly forMs: number;
      readonly atOnce: number;
    };

/** A connection that takes longer has failed, milliseconds. */
const callMsMax = 5_000;

answerParent(async (request: CallsRequest): Promise<unknown> => {
  if (request.type === "serve") return serve(request.port);
  const { forMs, atOnce } = request;
  const begin = performance.now();
  let calls = 0;
  const lane = async () => {
    while (performance.now() - begin < forMs) {
      await call(request);
      calls++;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return (calls * 1000) / (performance.now() - begin);
});

function serve(port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.write("x");
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host: "::", backlog: 1024 }, resolve);
  });
}

/** Until the server's first byte; ended without the pause in which the kernel keeps what is closed. */
function call({ host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.setTimeout(callMsMax, () => socket.destroy(new Error(`${host}:${port}: no answer`)));
    socket.once("error", reject);
    socket.once("data", () => {
      socket.resetAndDestroy();
      resolve();
    });
  });
}
