/**
 * The leader's end of the control relay: carries out the calls of one other manager, each for itself, and answers in the
 * order in which they end.
 */
import {
  ControlService,
  type MethodDescriptor,
  RelayedAnswer,
  RelayedAnswers,
  type RelayedCall,
  type RelayedCalls,
  RelayedError,
} from "../src/common/api/generated/api.ts";
import { LightSignal } from "../src/common/clock/light-signal.ts";
import { ClusterError } from "../src/common/errors/cluster-error.ts";
import { updatesWaitingMax } from "../src/common/limits/store.ts";
import type { CallContext, MessageStream } from "../src/common/rpc/handler.ts";
import { checkCaller } from "../src/common/rpc/roles.ts";
import { RelayQueue } from "./relay-queue.ts";

/** Carries out one method of `Control`. @throws ClusterError */
export type RelayHandler = <Q, R>(
  method: MethodDescriptor<Q, R>,
  request: Q,
  signal: AbortSignal,
) => Promise<R>;

const methods: ReadonlyMap<string, unknown> = new Map(
  Object.values(ControlService).map((method) => [method.path, method]),
);

/** Serves one stream to its end. @throws ClusterError when the stream breaks. */
export async function serveRelay(
  messages: MessageStream<RelayedCalls, RelayedAnswers>,
  caller: Pick<CallContext, "peer" | "signal">,
  handle: RelayHandler,
): Promise<void> {
  const underWay = new Map<number, LightSignal>();
  const queue = new RelayQueue<RelayedAnswer>(
    (answers) => messages.write(RelayedAnswers.create({ answers })),
    (answer) => answer.response.length,
    () => {
      // The stream broke: reading from it ends with the reason, too.
    },
  );
  const run = async (call: RelayedCall, signal: AbortSignal) => {
    const method = methods.get(call.path);
    if (method === undefined)
      throw new ClusterError("unimplemented", `${call.path} is not a method of control`);
    checkCaller(call.path, caller.peer);
    if (underWay.size > updatesWaitingMax)
      throw new ClusterError("resource-exhausted", "too many calls of this manager are under way");
    const typed = method as MethodDescriptor<unknown, unknown>;
    return typed.response.encode(await handle(typed, typed.request.decode(call.request), signal));
  };
  const take = async (call: RelayedCall) => {
    const stop = new LightSignal();
    underWay.set(call.id, stop);
    try {
      const response = await run(call, stop);
      queue.push(RelayedAnswer.create({ id: call.id, response }));
    } catch (error) {
      queue.push(RelayedAnswer.create({ id: call.id, error: errorOf(error) }));
    } finally {
      underWay.delete(call.id);
    }
  };
  try {
    for await (const { calls } of messages) {
      for (const call of calls) {
        if (call.givenUp) underWay.get(call.id)?.abort(givenUp());
        else void take(call);
      }
    }
  } finally {
    for (const stop of underWay.values()) stop.abort(givenUp());
  }
}

function givenUp(): ClusterError {
  return new ClusterError("cancelled", "the caller hung up");
}

function errorOf(error: unknown): RelayedError {
  if (!(error instanceof ClusterError)) {
    const message = "internal error; see the log of the manager";
    return RelayedError.create({ code: "internal", message });
  }
  const { code, message, fields } = error;
  return RelayedError.create({ code, message, fields: JSON.stringify(fields) });
}
