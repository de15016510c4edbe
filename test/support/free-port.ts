/**
 * Ports for servers of tests: nobody listens on them, and nobody is given them by chance before the test does.
 *
 * The kernel takes ports of outgoing connections, and those of servers that ask for none, from the upper range; ports of here
 * are below it. Each is marked by a socket in the abstract namespace, which is the network namespace's as ports are and ends
 * with the process: so processes of tests that run side by side never have the same.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

/** Ports below are those of services that a machine may have. */
const lowestPort = 15_000;
/** Where the kernel's own choice begins, unless somebody has set it to begin lower than makes sense. */
const endPort = Math.max(
  20_000,
  Number(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s/)[0]),
);
/** Processes begin at different places, so that one seldom meets the marks of another. */
let next = process.pid * 64;

/** A port that is free over TCP and UDP at all addresses, and this process's own from now on. */
export async function freePort(): Promise<number> {
  const count = endPort - lowestPort;
  for (let tries = 0; tries < count; tries++) {
    const port = lowestPort + (next++ % count);
    if (await isOurs(port)) return port;
  }
  throw new Error(`no port is free from ${lowestPort} to ${endPort}`);
}

/** Takes a port; false when another process of tests has it, or anybody listens there. */
export async function isOurs(port: number): Promise<boolean> {
  return (await isMarked(port)) && (await isFree(port));
}

/** Marks a port for the life of this process; false when another one has. */
async function isMarked(port: number): Promise<boolean> {
  const mark = createServer().unref();
  return holds(mark, () => mark.listen(`\0skep-test-port-${port}`));
}

async function isFree(port: number): Promise<boolean> {
  const tcp = createServer();
  const udp = createSocket("udp4");
  const isFree =
    (await holds(tcp, () => tcp.listen(port))) && (await holds(udp, () => udp.bind(port)));
  if (tcp.listening) await new Promise((resolve) => tcp.close(resolve));
  await new Promise<void>((resolve) => udp.close(resolve));
  return isFree;
}

/** Whether a socket gets what it asks for. */
async function holds(socket: NodeJS.EventEmitter, ask: () => unknown): Promise<boolean> {
  const listening = once(socket, "listening").then(
    () => true,
    () => false,
  );
  ask();
  return listening;
}
