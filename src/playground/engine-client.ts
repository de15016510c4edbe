/**
 * The few Engine API calls the playground makes itself: is a daemon there, form a swarm. Users and tests talk to the
 * daemons with the stock docker command.
 */
import { request } from "node:http";
import { ClusterError } from "../common/errors/cluster-error.ts";

/** A join waits for the cluster, and the API for at most 20 s (`apiRequestTimeoutMs`). */
const callTimeoutMs = 30_000;
const pingTimeoutMs = 2_000;

/** Whether a daemon answers on this socket. */
export async function ping(socket: string): Promise<boolean> {
  try {
    await call(socket, { method: "GET", path: "/_ping", timeoutMs: pingTimeoutMs });
    return true;
  } catch {
    // Not listening, or not yet: that is the answer.
    return false;
  }
}

/** Forms a swarm: the first node initialises it, the others join as managers or workers, one after the other. */
export async function formSwarm(
  nodes: readonly { socket: string; address: string; role: "manager" | "worker" }[],
): Promise<void> {
  const [first, ...others] = nodes;
  if (first === undefined) return;
  const listen = { ListenAddr: "0.0.0.0:2377" };
  await call(first.socket, {
    method: "POST",
    path: "/swarm/init",
    body: { ...listen, AdvertiseAddr: first.address },
  });
  const swarm = (await call(first.socket, { method: "GET", path: "/swarm" })) as {
    JoinTokens: { Manager: string; Worker: string };
  };
  for (const node of others) {
    const token = node.role === "manager" ? swarm.JoinTokens.Manager : swarm.JoinTokens.Worker;
    const body = {
      ...listen,
      AdvertiseAddr: node.address,
      RemoteAddrs: [`${first.address}:2377`],
      JoinToken: token,
    };
    await call(node.socket, { method: "POST", path: "/swarm/join", body });
  }
}

interface Call {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs?: number;
}

function call(socketPath: string, c: Call): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const headers = c.body === undefined ? {} : { "content-type": "application/json" };
    const timeout = c.timeoutMs ?? callTimeoutMs;
    const sent = request({ socketPath, method: c.method, path: c.path, headers, timeout });
    sent.once("timeout", () => sent.destroy(new Error(`no answer within ${timeout} ms`)));
    sent.once("error", (error) => reject(failure(c, error.message)));
    sent.once("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.once("error", (error) => reject(failure(c, error.message)));
      response.once("end", () => {
        if ((response.statusCode ?? 500) >= 300) reject(failure(c, text.trim()));
        else resolve(text.startsWith("{") ? JSON.parse(text) : text);
      });
    });
    sent.end(c.body === undefined ? undefined : JSON.stringify(c.body));
  });
}

function failure(c: Call, text: string): ClusterError {
  return new ClusterError("unavailable", `${c.method} ${c.path}: ${text}`);
}
