/**
 * The follower's end of the control relay: calls to one leader over one stream, opened with the first of them.
 */
import {
  ControlRelayService,
  type MethodDescriptor,
  type RelayedAnswer,
  RelayedCall,
  RelayedCalls,
  type RelayedError,
} from "../src/common/api/generated/api.ts";
import {
  ClusterError,
  type ErrorCode,
  type ErrorFields,
} from "../src/common/errors/cluster-error.ts";
import type { RpcClient } from "../src/common/rpc/client.ts";
import { RelayQueue } from "./relay-queue.ts";

interface Waiting {
  resolve(response: Uint8Array): void;
  reject(error: unknown): void;
}

/** One stream's worth of calls; a new one is made when it broke. */
class RelayStream {
  readonly #waiting = new Map<number, Waiting>();
  readonly #queue: RelayQueue<RelayedCall>;
  readonly #cancel: () => void;
  #nextId = 1;
  #retired = false;
  /** Why no further call goes over it. */
  #ended: unknown;

  constructor(rpc: Pick<RpcClient, "stream">, onEnded: () => void) {
    const stream = rpc.stream(ControlRelayService.relay);
    const end = (error: unknown) => {
      if (this.#ended !== undefined) return;
      this.#ended = error;
      onEnded();
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
      stream.cancel();
    };
    this.#cancel = () => end(new ClusterError("cancelled", "the connection is closed"));
    this.#queue = new RelayQueue(
      (calls) => stream.write(RelayedCalls.create({ calls })),
      (call) => call.request.length + call.path.length,
      end,
    );
    const read = async () => {
      for await (const { answers } of stream) for (const answer of answers) this.#take(answer);
      throw new ClusterError("unavailable", "the leader ended the connection");
    };
    read().catch(end);
  }

  call(path: string, request: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        if (!this.#waiting.delete(id)) return;
        this.#queue.push(RelayedCall.create({ id, givenUp: true }));
        reject(signal.reason);
      };
      const settled = () => signal.removeEventListener("abort", giveUp);
      this.#waiting.set(id, {
        resolve: (response) => {
          settled();
          resolve(response);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      signal.addEventListener("abort", giveUp, { once: true });
      this.#queue.push(RelayedCall.create({ id, path, request }));
    });
  }

  close(): void {
    this.#cancel();
  }

  /** Ends with the last answer that is waited for. */
  retire(): void {
    this.#retired = true;
    if (this.#waiting.size === 0) this.close();
  }

  #take(answer: RelayedAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    if (answer.error === undefined) waiting.resolve(answer.response);
    else waiting.reject(errorOf(answer.error));
    if (this.#retired && this.#waiting.size === 0) this.close();
  }
}

/** The calls of this manager to one leader. */
export class RelayClient {
  readonly #rpc: Pick<RpcClient, "stream">;
  #stream: RelayStream | undefined;

  constructor(rpc: Pick<RpcClient, "stream">) {
    this.#rpc = rpc;
  }

  /**
   * One method of `Control` on the leader.
   *
   * @throws ClusterError as the leader threw it; unavailable or cancelled when the stream broke before the answer; the
   *   signal's reason.
   */
  async call<Q, R>(method: MethodDescriptor<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
    signal.throwIfAborted();
    const stream = this.#open();
    const bytes = await stream.call(method.path, method.request.encode(request), signal);
    return method.response.decode(bytes);
  }

  close(): void {
    this.#stream?.close();
  }

  /** Has the next call go over a stream of its own; calls under way end on the present one. */
  retire(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.retire();
  }

  #open(): RelayStream {
    if (this.#stream !== undefined) return this.#stream;
    const stream: RelayStream = new RelayStream(this.#rpc, () => {
      if (this.#stream === stream) this.#stream = undefined;
    });
    this.#stream = stream;
    return stream;
  }
}

function errorOf({ code, message, fields }: RelayedError): ClusterError {
  return new ClusterError(code as ErrorCode, message, {
    fields: JSON.parse(fields === "" ? "{}" : fields) as ErrorFields,
  });
}
