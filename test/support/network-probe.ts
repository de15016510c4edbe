/**
 * A process in a network namespace that a test asks to listen, to call and to send; `network-lab.ts` starts it.
 *
 * Servers answer each line, or datagram, with their name, the caller's address and port, and the line.
 */
import { createSocket } from "node:dgram";
import { connect, createServer, isIPv6, type Socket } from "node:net";

/** What a probe can be asked; see `Probe` of the lab for the answers. */
export type ProbeRequest =
  | { readonly what: "serve"; readonly port: number; readonly name: string }
  | { readonly what: "call"; readonly call: ProbeCall }
  | { readonly what: "open"; readonly call: ProbeCall }
  | { readonly what: "say"; readonly stream: number; readonly line: string }
  | { readonly what: "peer"; readonly stream: number }
  | { readonly what: "send"; readonly host: string; readonly port: number; readonly hex: string }
  | { readonly what: "heard" }
  | { readonly what: "openUdp"; readonly host: string; readonly port: number }
  | { readonly what: "sayUdp"; readonly stream: number; readonly line: string };

/** Calls of one address. */
export interface ProbeCall {
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
  /** The kernel's choice when 0. */
  readonly localPort: number;
  readonly count: number;
}

/** Calls at a time. */
const callsAtOnce = 32;
/** A call that takes longer has failed. */
const callTimeoutMs = 4_000;

/** A stream that stays may be silent for longer. */
const streamTimeoutMs = 30_000;

const heard: string[] = [];
const streams: Socket[] = [];
const sockets: ReturnType<typeof createSocket>[] = [];

process.on("message", ({ id, request }: { id: number; request: ProbeRequest }) => {
  answer(request).then(
    (value) => process.send?.({ id, value }),
    (error: unknown) => process.send?.({ id, error: codeOf(error) }),
  );
});
process.on("disconnect", () => process.exit(0));

async function answer(request: ProbeRequest): Promise<unknown> {
  switch (request.what) {
    case "serve":
      return serve(request.port, request.name);
    case "call":
      return callAll(request.call);
    case "open":
      return open(request.call);
    case "say":
      return say(request.stream, request.line);
    case "peer":
      return streams[request.stream]?.remoteAddress;
    case "send":
      return send(request);
    case "heard":
      return heard;
    case "openUdp":
      return openUdp(request);
    case "sayUdp":
      return sayUdp(request.stream, request.line);
  }
}

/** TCP and UDP, over IPv4 and IPv6. */
async function serve(port: number, name: string): Promise<void> {
  const server = createServer((socket) => {
    const caller = `${name} ${socket.remoteAddress?.replace("::ffff:", "")} ${socket.remotePort}`;
    const own = socket.localAddress?.replace("::ffff:", "");
    socket.on("data", (data) => socket.write(`${caller} ${own} ${data}`));
    socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen({ port, host: "::", backlog: 512 }, resolve));
  for (const type of ["udp4", "udp6"] as const) {
    const socket = createSocket({ type, ipv6Only: type === "udp6" });
    socket.on("message", (data, from) => {
      heard.push(data.toString());
      socket.send(`${name} ${from.address} ${from.port} - ${data}`, from.port, from.address);
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(port, resolve);
    });
  }
}

async function callAll(call: ProbeCall): Promise<string[]> {
  const answers: string[] = [];
  let left = call.count;
  const some = async () => {
    while (left-- > 0) {
      const one = call.protocol === "tcp" ? callTcp(call) : callUdp(call);
      answers.push(await one.catch(codeOf));
    }
  };
  await Promise.all(Array.from({ length: Math.min(callsAtOnce, call.count) }, some));
  return answers;
}

async function callTcp(call: ProbeCall): Promise<string> {
  const socket = await connected(call);
  try {
    return await lineOf(socket, "hello\n");
  } finally {
    socket.destroy();
  }
}

/** Undefined local ports are chosen by the kernel. */
function connected({ host, port, localPort }: ProbeCall): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const own = localPort === 0 ? {} : { localPort };
    const socket = connect({ host, port, ...own });
    socket.setTimeout(callTimeoutMs, () => socket.destroy(new Error("timeout")));
    socket.once("error", reject);
    socket.once("connect", () => resolve(socket));
  });
}

function lineOf(socket: Socket, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error("closed"));
    socket.once("error", reject);
    socket.once("close", closed);
    socket.once("data", (data) => {
      socket.off("error", reject);
      socket.off("close", closed);
      resolve(data.toString().trim());
    });
    socket.write(line);
  });
}

async function open(call: ProbeCall): Promise<number> {
  const socket = await connected(call);
  socket.setTimeout(streamTimeoutMs);
  return streams.push(socket) - 1;
}

async function say(stream: number, line: string): Promise<string> {
  const socket = streams[stream];
  if (socket === undefined) throw new Error("no such stream");
  return lineOf(socket, `${line}\n`);
}

function callUdp({ host, port }: ProbeCall): Promise<string> {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  return exchange(socket, { host, port, line: "hello" }).finally(() => socket.close());
}

function exchange(
  socket: ReturnType<typeof createSocket>,
  to: { host: string; port: number; line: string },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("timeout")), callTimeoutMs);
    socket.once("error", reject);
    socket.once("message", (data, from) => {
      clearTimeout(timer);
      const right = from.address === to.host && from.port === to.port;
      resolve(right ? data.toString() : `answer from ${from.address}:${from.port}`);
    });
    socket.send(to.line, to.port, to.host);
  });
}

async function openUdp({ host, port }: { host: string; port: number }): Promise<number> {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.connect(port, host, resolve);
  });
  return sockets.push(socket) - 1;
}

function sayUdp(stream: number, line: string): Promise<string> {
  const socket = sockets[stream];
  if (socket === undefined) throw new Error("no such socket");
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("timeout")), callTimeoutMs);
    socket.removeAllListeners("error");
    socket.removeAllListeners("message");
    socket.once("error", reject);
    socket.once("message", (data) => {
      clearTimeout(timer);
      resolve(data.toString());
    });
    socket.send(line);
  });
}

async function send(o: { host: string; port: number; hex: string }): Promise<void> {
  const socket = createSocket(isIPv6(o.host) ? "udp6" : "udp4");
  await new Promise<void>((resolve, reject) => {
    socket.send(Buffer.from(o.hex, "hex"), o.port, o.host, (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  socket.close();
}

function codeOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code ?? message ?? String(error);
}
