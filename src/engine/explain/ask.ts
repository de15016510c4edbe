/**
 * Asks nodes for what they have, such as in their kernels: this one directly, others over tunnels, many at a time. One that does not answer in
 * time costs its own answer only.
 */
import { request as httpRequest } from "node:http";
import type { Duplex } from "node:stream";
import type { LookRequest, NodeLook, PortName } from "../../common/container/data-path.ts";
import { ClusterError, errorText } from "../../common/errors/cluster-error.ts";
import { explainAtOnce, explainNodeMs, httpBodyBytesMax } from "../../common/limits/limits.ts";
import type { EngineContext } from "../context.ts";
import type { EngineRequest } from "../request.ts";
import type { JsonObject } from "../translate/reader.ts";

/** What a node said, or why it said nothing. */
export type NodeAnswer =
  | { readonly kind: "look"; readonly look: NodeLook }
  | { readonly kind: "silent"; readonly reason: string };

/** Where nodes answer what they are asked over a tunnel. */
export const lookPath = "/skep/look";

/** Asks each node what its kernel has; never rejects but with the signal's reason. */
export async function askNodes(
  context: EngineContext,
  questions: ReadonlyMap<string, LookRequest>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, NodeAnswer>> {
  const { dataPath } = context.ports.runtime;
  const found = await askEach<LookRequest, NodeLook>(context, {
    ...{ path: lookPath, questions, signal },
    here: (question, until) => dataPath.look(question, until),
  });
  return new Map(
    [...found].map(([id, one]) => [
      id,
      one.kind === "told" ? { kind: "look", look: one.answer } : one,
    ]),
  );
}

/** What a node said to a question of any kind, or why it said nothing. */
export type Outcome<A> =
  | { readonly kind: "told"; readonly answer: A }
  | { readonly kind: "silent"; readonly reason: string };

/** Questions for nodes. */
export interface Asked<Q, A> {
  /** Where other nodes answer. */
  readonly path: string;
  /** By node. */
  readonly questions: ReadonlyMap<string, Q>;
  /** How this node answers. */
  readonly here: (question: Q, signal: AbortSignal) => Promise<A>;
  readonly signal: AbortSignal;
}

/** Asks each node its own question; never rejects but with the signal's reason. */
export async function askEach<Q, A>(
  context: EngineContext,
  asked: Asked<Q, A>,
): Promise<ReadonlyMap<string, Outcome<A>>> {
  const answers = new Map<string, Outcome<A>>();
  const waiting = [...asked.questions];
  const take = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [nodeId, question] = next;
      answers.set(nodeId, await askOne(context, nodeId, { ...asked, question }));
    }
  };
  await Promise.all(Array.from({ length: Math.min(explainAtOnce, waiting.length) }, take));
  asked.signal.throwIfAborted();
  return answers;
}

async function askOne<Q, A>(
  context: EngineContext,
  nodeId: string,
  { question, signal, path, here }: Asked<Q, A> & { readonly question: Q },
): Promise<Outcome<A>> {
  const { ports, clock } = context;
  const stop = new AbortController();
  const end = () => stop.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  const late = clock.sleep(explainNodeMs, stop.signal).then(
    () => stop.abort(new ClusterError("deadline-exceeded", `no answer in ${explainNodeMs} ms`)),
    () => undefined, // It has answered.
  );
  const over = new Promise<never>((_, reject) => {
    stop.signal.addEventListener("abort", () => reject(stop.signal.reason), { once: true });
  });
  try {
    const isHere = nodeId === ports.swarm.status().nodeId;
    const work = isHere
      ? here(question, stop.signal)
      : askFar<Q, A>(context, nodeId, { path, question, signal: stop.signal });
    return { kind: "told", answer: await Promise.race([work, over]) };
  } catch (error) {
    return { kind: "silent", reason: errorText(error) };
  } finally {
    signal.removeEventListener("abort", end);
    over.catch(() => undefined); // Told already, or nobody waits any more.
    stop.abort();
    await late;
  }
}

async function askFar<Q, A>(
  { ports }: EngineContext,
  nodeId: string,
  asked: { readonly path: string; readonly question: Q; readonly signal: AbortSignal },
): Promise<A> {
  const { path, question, signal } = asked;
  const { stream } = await ports.tunnels.open(nodeId, signal);
  const cut = () => stream.destroy();
  signal.addEventListener("abort", cut, { once: true });
  try {
    signal.throwIfAborted();
    const { status, text } = await post(stream, path, JSON.stringify(question));
    if (status === 404) {
      throw new ClusterError("unimplemented", "its daemon is of a version that cannot tell");
    }
    const value: unknown = JSON.parse(text);
    if (status !== 200) {
      const { message } = value as { readonly message?: unknown };
      throw new ClusterError("unavailable", typeof message === "string" ? message : text);
    }
    return value as A;
  } finally {
    signal.removeEventListener("abort", cut);
    stream.destroy();
  }
}

function post(
  stream: Duplex,
  path: string,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      createConnection: () => stream,
      method: "POST",
      path,
      headers: {
        Host: "docker",
        "Content-Type": "application/json",
        "Content-Length": Buffer.byteLength(body),
      },
    });
    // Not once: it fails anew when the tunnel breaks while the answer is read.
    outgoing.on("error", reject);
    outgoing.once("response", (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        if (text.length > httpBodyBytesMax) answer.destroy(new Error("the answer is too long"));
      });
      answer.once("error", reject);
      answer.once("end", () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    outgoing.end(body);
  });
}

/** The question in a request that came through a tunnel. @throws ClusterError invalid-argument naming the field. */
export async function lookRequestOf(request: EngineRequest): Promise<LookRequest> {
  const body = await request.body();
  return {
    networkIds: body.strings("networkIds"),
    serviceIds: body.strings("serviceIds"),
    ports: portsFromJson(body),
    names: body.objects("names").map((one) => ({
      from: one.string("from"),
      networkId: one.string("networkId"),
      name: one.string("name"),
    })),
    probes: body.objects("probes").map((one) => ({
      from: one.string("from"),
      networkId: one.string("networkId"),
      address: one.string("address"),
      port: one.natural("port"),
    })),
  };
}

/** The ports a node is asked about. @throws ClusterError invalid-argument naming the field. */
export function portsFromJson(body: JsonObject): readonly PortName[] {
  const protocols = ["tcp", "udp", "sctp"] as const;
  return body.objects("ports").map((one) => ({
    protocol: protocols.find((word) => word === one.string("protocol")) ?? "tcp",
    port: one.natural("port"),
  }));
}
