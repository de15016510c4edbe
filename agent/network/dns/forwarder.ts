/**
 * Asks other resolvers what containers want to know of the world.
 *
 * The first resolver is asked; when it says nothing for a second, or fails, the next one as well, and the first good answer
 * counts. One that did not answer is asked after the others for a while. Everything is bounded.
 */
import type { Clock } from "../../../src/common/clock/clock.ts";
import {
  nameForwardMs,
  nameForwardStepMs,
  nameForwardsMax,
  nameForwardsPerCallerMax,
  nameResolverShunMs,
  nameResolversMax,
} from "../../../src/common/limits/names.ts";
import type { Random } from "../../../src/common/random/random.ts";
import { type Exchange, exchangeOverTcp, exchangeOverUdp } from "./exchange.ts";
import { answers, codeOf, isTruncated, type Query, responseCode, withId } from "./message.ts";
import type { Resolver } from "./resolvers.ts";

/** A question of a container to the world. */
export interface ForwardRequest {
  readonly message: Buffer;
  readonly query: Query;
  /** Who is counted. */
  readonly caller: string;
  readonly resolvers: readonly Resolver[];
  /** The container can take the whole answer. */
  readonly overTcp: boolean;
}

/** Ways to ask a resolver. */
export interface Exchanges {
  readonly udp: (o: Exchange) => Promise<Buffer>;
  readonly tcp: (o: Exchange) => Promise<Buffer>;
}

const failures: ReadonlySet<number> = new Set([
  responseCode.serverFailure,
  responseCode.notImplemented,
  responseCode.refused,
]);

/** All questions of a node that are under way. */
export class Forwarder {
  readonly #tools: { readonly clock: Clock; readonly random: Random };
  readonly #exchanges: Exchanges;
  readonly #perCaller = new Map<string, number>();
  readonly #shunnedUntilMs = new Map<string, number>();
  #underWay = 0;

  constructor(
    tools: { readonly clock: Clock; readonly random: Random },
    exchanges: Exchanges = { udp: exchangeOverUdp, tcp: exchangeOverTcp },
  ) {
    this.#tools = tools;
    this.#exchanges = exchanges;
  }

  /** The answer with the asker's id; undefined when nobody has one, or too much is under way. Never rejects. */
  async forward(request: ForwardRequest, signal: AbortSignal): Promise<Buffer | undefined> {
    const { caller, query } = request;
    const own = this.#perCaller.get(caller) ?? 0;
    if (this.#underWay >= nameForwardsMax || own >= nameForwardsPerCallerMax) return undefined;
    this.#underWay++;
    this.#perCaller.set(caller, own + 1);
    try {
      const response = await this.#ask(request, signal);
      return response === undefined ? undefined : withId(response, query.id);
    } finally {
      this.#underWay--;
      const left = (this.#perCaller.get(caller) ?? 1) - 1;
      if (left > 0) this.#perCaller.set(caller, left);
      else this.#perCaller.delete(caller);
    }
  }

  #ask(request: ForwardRequest, signal: AbortSignal): Promise<Buffer | undefined> {
    const { clock } = this.#tools;
    const order = this.#inOrder(request.resolvers);
    // Twice: a packet may be lost.
    const waiting = [...order, ...order];
    const stop = new AbortController();
    return new Promise((resolve) => {
      let open = 0;
      let refusal: Buffer | undefined;
      const finish = (response: Buffer | undefined) => {
        signal.removeEventListener("abort", end);
        resolve(response);
        stop.abort();
      };
      const end = () => finish(refusal);
      const askNext = () => {
        const resolver = waiting.shift();
        if (stop.signal.aborted) return;
        if (resolver === undefined) {
          if (open === 0) finish(refusal);
          return;
        }
        open++;
        const step = new AbortController();
        clock.sleep(nameForwardStepMs, step.signal).then(askNext, () => {
          // It failed before, and the next one was asked then.
        });
        this.#exchange(request, resolver, stop.signal).then(
          (response) => {
            open--;
            step.abort();
            if (!failures.has(codeOf(response))) return finish(response);
            refusal = response;
            askNext();
          },
          () => {
            open--;
            const isFirst = !step.signal.aborted;
            step.abort();
            if (!stop.signal.aborted) this.#shun(resolver);
            if (isFirst) askNext();
          },
        );
      };
      if (signal.aborted) return finish(undefined);
      signal.addEventListener("abort", end, { once: true });
      clock.sleep(nameForwardMs, stop.signal).then(
        () => {
          for (const resolver of order) this.#shun(resolver);
          end();
        },
        () => {
          // Answered.
        },
      );
      askNext();
    });
  }

  async #exchange(
    request: ForwardRequest,
    resolver: Resolver,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const { query, overTcp } = request;
    const id = this.#tools.random.int(0x10000);
    const exchange: Exchange = {
      resolver,
      message: withId(request.message, id),
      isAnswer: (response) => answers(response, id, query.question),
      signal,
    };
    const response = await this.#exchanges.udp(exchange);
    this.#shunnedUntilMs.delete(resolver.address);
    if (!overTcp || !isTruncated(response)) return response;
    // The part is better than nothing when the resolver takes no connections.
    return this.#exchanges.tcp(exchange).catch(() => response);
  }

  #inOrder(resolvers: readonly Resolver[]): Resolver[] {
    const now = this.#tools.clock.monotonic();
    const isShunned = ({ address }: Resolver) => (this.#shunnedUntilMs.get(address) ?? 0) > now;
    const used = resolvers.slice(0, nameResolversMax);
    return [...used.filter((one) => !isShunned(one)), ...used.filter(isShunned)];
  }

  #shun({ address }: Resolver): void {
    // A few resolvers of hosts and containers; whatever grows beyond that is not worth remembering.
    if (this.#shunnedUntilMs.size > nameForwardsMax) this.#shunnedUntilMs.clear();
    this.#shunnedUntilMs.set(address, this.#tools.clock.monotonic() + nameResolverShunMs);
  }
}
