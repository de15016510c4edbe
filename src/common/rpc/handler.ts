/**
 * How a method is served: the four kinds of handler, what each is told of its call, and their binding to grpc-js.
 *
 * Handlers are plain async functions; failures are thrown as `ClusterError`. Streams are async iterables of messages with a
 * `write` that waits while the other side is slow.
 */
import { once } from "node:events";
import type { Readable } from "node:stream";
import type {
  Deadline,
  Metadata,
  MethodDefinition,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServiceDefinition,
  sendUnaryData,
  UntypedHandleCall,
} from "@grpc/grpc-js";
import type { Codec, MethodDescriptor } from "../api/generated/api.ts";
import { ClusterError } from "../errors/cluster-error.ts";
import type { Identity } from "../identity/types.ts";
import type { FrameStream } from "./frame-stream.ts";
import { statusFromError } from "./status.ts";

/** Metadata a manager adds when it passes a call on to the leader. */
export const forwardedKey = "skep-forwarded";

/** What a handler knows of its call. */
export interface CallContext {
  /** Who calls, by a checked certificate; undefined when none was presented, which only "anyone" methods see. */
  readonly peer: Identity | undefined;
  /** IP address the call comes from. */
  readonly address: string;
  /** Wall time at which the caller gives up, milliseconds; Infinity without a deadline. */
  readonly deadlineMs: number;
  /** Aborts when the caller cancels or hangs up, and when the deadline passes. */
  readonly signal: AbortSignal;
  /** Another manager passes the call on: the leader answers it, nobody passes it on once more. */
  readonly forwarded: boolean;
}

/** One side's view of a message stream: what comes in, and a way to send. */
export interface MessageStream<In, Out> extends AsyncIterable<In> {
  /** Resolves once the next message may follow; a slow receiver makes it wait. @throws ClusterError when it is over. */
  write(message: Out): Promise<void>;
}

/** One method with its handler, ready for `serve`. */
export type Registration = GrpcRegistration | DirectRegistration;

/** A method that is called through gRPC. */
export interface GrpcRegistration {
  readonly definition: ServiceDefinition[string];
  /** @param context Makes the context of a call, or throws what refuses it. */
  readonly bind: (context: ContextMaker, report: Reporter) => UntypedHandleCall;
}

/** A method whose calls have a connection each (`direct-server.ts`). */
export interface DirectRegistration {
  readonly path: string;
  /** Serves one call to its end. */
  readonly serve: (frames: FrameStream, call: CallContext) => Promise<void>;
}

/** What every kind of grpc-js server call can do. */
export interface RawCall {
  readonly metadata: Metadata;
  getPeer(): string;
  getDeadline(): Deadline;
  once(event: "cancelled", listener: () => void): unknown;
}
/** Checks the caller of a call and describes the call; `done` frees what the context holds. */
export type ContextMaker = (call: RawCall, unary: boolean) => CallContext & { done(): void };
/** Told of failures that are bugs. */
export type Reporter = (error: unknown) => void;

/** Serves a method with one request and one response. */
export function unary<Q, R>(
  method: MethodDescriptor<Q, R>,
  handle: (request: Q, call: CallContext) => Promise<R>,
): GrpcRegistration {
  requireKind(method, false, false);
  return register(
    method,
    (context, report) => (call: ServerUnaryCall<Q, R>, reply: sendUnaryData<R>) => {
      answer(context, report, call, reply, true, (c) => handle(call.request, c));
    },
  );
}

/** Serves a method with many requests and one response. */
export function clientStream<Q, R>(
  method: MethodDescriptor<Q, R>,
  handle: (requests: AsyncIterable<Q>, call: CallContext) => Promise<R>,
): GrpcRegistration {
  requireKind(method, true, false);
  return register(
    method,
    (context, report) => (call: ServerReadableStream<Q, R>, reply: sendUnaryData<R>) => {
      answer(context, report, call, reply, false, (c) => handle(incoming<Q>(call, c.signal), c));
    },
  );
}

/** Serves a method with many requests and many responses; the stream ends when the handler's promise resolves. */
export function bidiStream<Q, R>(
  method: MethodDescriptor<Q, R>,
  handle: (messages: MessageStream<Q, R>, call: CallContext) => Promise<void>,
): GrpcRegistration {
  requireKind(method, true, true);
  return register(method, (context, report) => (call: ServerDuplexStream<Q, R>) => {
    stream(context, report, call, (c) => {
      const requests = incoming<Q>(call, c.signal);
      return handle(
        {
          write: (m) => send(call, m, c.signal),
          [Symbol.asyncIterator]: () => requests[Symbol.asyncIterator](),
        },
        c,
      );
    });
  });
}

/** Serves a method with many requests and many responses, each call over a connection of its own, without HTTP/2. */
export function directStream<Q, R>(
  method: MethodDescriptor<Q, R>,
  handle: (messages: MessageStream<Q, R>, call: CallContext) => Promise<void>,
): DirectRegistration {
  requireKind(method, true, true);
  return {
    path: method.path,
    serve: (frames, call) => {
      const requests = framesIn(frames, method.request, call.signal);
      const messages: MessageStream<Q, R> = {
        write: (message) => frames.write(method.response.encode(message)),
        [Symbol.asyncIterator]: () => requests,
      };
      return withSignal(handle(messages, call), call.signal);
    },
  };
}

/** The messages of a direct stream; a caller that hangs up makes it throw "cancelled". */
async function* framesIn<Q>(
  frames: FrameStream,
  codec: Pick<Codec<Q>, "decode">,
  signal: AbortSignal,
): AsyncGenerator<Q, void, void> {
  for (;;) {
    const { bytes, isLast } = await frames.next().catch((error: unknown) => {
      throw signal.aborted ? signal.reason : error;
    });
    if (isLast) return;
    yield codec.decode(bytes);
  }
}

/** Bytes of a message in the form grpc-js takes, without a copy. */
export function serializerOf<T>(codec: Pick<Codec<T>, "encode">): (message: T) => Buffer {
  return (message) => {
    const bytes = codec.encode(message);
    return Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function requireKind(
  method: {
    readonly path: string;
    readonly requestStream: boolean;
    readonly responseStream: boolean;
  },
  requestStream: boolean,
  responseStream: boolean,
): void {
  if (method.requestStream !== requestStream || method.responseStream !== responseStream) {
    throw new Error(`the handler of ${method.path} is of another kind than the method`);
  }
}

function register<Q, R, C extends UntypedHandleCall>(
  method: MethodDescriptor<Q, R>,
  bind: (context: ContextMaker, report: Reporter) => C,
): GrpcRegistration {
  const definition: MethodDefinition<Q, R> = {
    path: method.path,
    requestStream: method.requestStream,
    responseStream: method.responseStream,
    requestSerialize: serializerOf(method.request),
    requestDeserialize: method.request.decode,
    responseSerialize: serializerOf(method.response),
    responseDeserialize: method.response.decode,
  };
  return { definition, bind };
}

/** Runs a handler with one response. */
function answer<R>(
  context: ContextMaker,
  report: Reporter,
  call: RawCall,
  reply: sendUnaryData<R>,
  unaryCall: boolean,
  handle: (c: CallContext) => Promise<R>,
): void {
  let c: ReturnType<ContextMaker> | undefined;
  const run = async () => {
    c = context(call, unaryCall);
    return await withSignal(handle(c), c.signal);
  };
  run()
    .then(
      (response) => reply(null, response),
      (error: unknown) => {
        if (!(error instanceof ClusterError)) report(error);
        reply(statusFromError(error));
      },
    )
    .finally(() => c?.done());
}

/** Runs a handler that writes its responses itself. */
function stream(
  context: ContextMaker,
  report: Reporter,
  call: RawCall & Writer<never>,
  handle: (c: CallContext) => Promise<void>,
): void {
  let c: ReturnType<ContextMaker> | undefined;
  const run = async () => {
    c = context(call, false);
    await withSignal(handle(c), c.signal);
  };
  run()
    .then(
      () => call.end(),
      (error: unknown) => {
        if (!(error instanceof ClusterError)) report(error);
        call.emit("error", statusFromError(error));
      },
    )
    .finally(() => c?.done());
}

/** Ends the answer with the signal, even when the handler does not look at it; its late outcome is dropped. */
function withSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** The messages of a stream; a caller that hangs up makes it throw "cancelled". */
async function* incoming<Q>(call: Readable, signal: AbortSignal): AsyncGenerator<Q, void, void> {
  try {
    // Without the option the end of the requests would destroy the whole call, responses included.
    for await (const message of call.iterator({ destroyOnReturn: false })) yield message as Q;
  } catch (error) {
    throw signal.aborted ? signal.reason : goneError(error);
  }
  // A caller that gave up looks at first like one that has said all: Node ends the requests, then closes the stream.
  await new Promise((resolve) => setImmediate(resolve));
  if (signal.aborted) throw signal.reason;
}

/** The sending half of a server call. */
type Writer<R> = NodeJS.EventEmitter & {
  write(message: R): boolean;
  end(): unknown;
};

async function send<R>(call: Writer<R>, message: R, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw signal.reason;
  if (call.write(message)) return;
  try {
    await once(call, "drain", { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : goneError(error);
  }
}

function goneError(cause: unknown): ClusterError {
  return new ClusterError("cancelled", "the stream broke off", { cause });
}
