/**
 * Asks registries what the images of services stand for, with the services' credentials: the leader's loop around `decide.ts`.
 *
 * The scheduler waits shortly for an answer to a new image, so that a task does not land where it cannot run. A registry that
 * does not answer is not waited for again and again: for a while its images are taken as unknown at once.
 */
import type { ServiceImage } from "../../src/common/api/generated/api.ts";
import { Alarm } from "../../src/common/clock/alarm.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import type { RegistryAuth } from "../../src/common/container/images.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";
import type { Log } from "../../src/common/log/log.ts";
import { parseReference } from "../../src/common/registry/reference.ts";
import { registryAuthOf } from "../../src/common/registry/registry-auth.ts";
import type { Store } from "../state/store.ts";
import {
  type Answer,
  imageAfterAnswer,
  imageAfterFailure,
  isRefusal,
  isSameWish,
  pauseAfter,
  type Wish,
  wishKey,
  wishOf,
} from "./decide.ts";

/** The registries, as this loop needs them. */
export interface ImageRegistry {
  /** @throws ClusterError `unavailable` when the registry does not answer, others when it refuses. */
  resolve(
    reference: string,
    options: { readonly auth: RegistryAuth | undefined; readonly signal: AbortSignal },
  ): Promise<Answer>;
}

/** Questions under way at a time: registries are far away, but must not be flooded. */
const asksMax = 8;
/** How long a registry may take, milliseconds; below the time the scheduler waits. */
const askMs = 6_000;
/** How long a registry that did not answer is not asked for other images, milliseconds. */
const silenceMs = 10_000;
/** Registries remembered as silent. */
const silentMax = 1_000;
/** Longest pause between two looks, milliseconds. */
const idleMs = 60_000;
/** Pause before what could not be written is asked again, milliseconds. */
const writeRetryMs = 1_000;

/** A question of one or more services. */
interface Question {
  readonly wish: Wish;
  readonly serviceIds: Set<string>;
  /** When to ask, milliseconds of the monotonic clock. */
  at: number;
  attempts: number;
  isAsked: boolean;
}

/** The loop of one leadership. */
export class ImageLoop {
  readonly #store: Store;
  readonly #term: number;
  readonly #registry: ImageRegistry;
  readonly #tools: { readonly clock: Clock; readonly log: Log };
  readonly #alarm: Alarm;
  readonly #questions = new Map<string, Question>();
  readonly #byService = new Map<string, Question>();
  /** Until when a registry counts as silent, and what it was last. */
  readonly #silent = new Map<string, { readonly until: number; readonly error: unknown }>();
  readonly #asking = new Set<Promise<void>>();

  constructor(
    leadership: { readonly store: Store; readonly term: number },
    registry: ImageRegistry,
    tools: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#store = leadership.store;
    this.#term = leadership.term;
    this.#registry = registry;
    this.#tools = tools;
    this.#alarm = new Alarm(tools.clock);
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const watch = this.#store.watch({ table: "service" }, { signal });
    const following = this.#follow(watch);
    try {
      while (!signal.aborted) {
        const pause = this.#ask(signal);
        await this.#alarm.pause(pause, signal);
      }
    } finally {
      watch.close();
      await Promise.all([following, ...this.#asking]);
    }
  }

  async #follow(watch: ReturnType<Store["watch"]>): Promise<void> {
    this.#lookAtAll();
    for await (const item of watch) {
      if (item.resync) this.#lookAtAll();
      else {
        for (const change of item.changes) this.#look(change.object.id);
      }
      this.#alarm.ring();
    }
  }

  #lookAtAll(): void {
    for (const id of this.#byService.keys()) this.#look(id);
    for (const { id } of this.#store.view().each("service")) this.#look(id);
  }

  /** Notes what is to be asked for a service, if anything. */
  #look(id: string): void {
    const service = this.#store.view().get("service", id);
    const wish = service && wishOf(service);
    const before = this.#byService.get(id);
    if (isSameWish(before?.wish, wish)) return;
    if (before !== undefined) {
      this.#byService.delete(id);
      before.serviceIds.delete(id);
      if (before.serviceIds.size === 0) this.#questions.delete(wishKey(before.wish));
    }
    if (wish === undefined) return;
    const key = wishKey(wish);
    let question = this.#questions.get(key);
    if (question === undefined) {
      const at = this.#tools.clock.monotonic();
      question = { wish, serviceIds: new Set(), at, attempts: 0, isAsked: false };
      this.#questions.set(key, question);
    } else if (question.attempts > 0 && !question.isAsked) {
      // A new service does not wait for the next attempt of older ones.
      question.at = this.#tools.clock.monotonic();
    }
    question.serviceIds.add(id);
    this.#byService.set(id, question);
  }

  /** Asks what is due. @returns milliseconds until more is. */
  #ask(signal: AbortSignal): number {
    const now = this.#tools.clock.monotonic();
    let next = now + idleMs;
    for (const question of this.#questions.values()) {
      if (question.isAsked) continue;
      if (question.at > now) next = Math.min(next, question.at);
      else if (this.#asking.size < asksMax) {
        question.isAsked = true;
        const asking = this.#settle(question, signal).finally(() => {
          this.#asking.delete(asking);
          question.isAsked = false;
          this.#alarm.ring();
        });
        this.#asking.add(asking);
      }
    }
    return next - now;
  }

  /** Asks, writes what came of it, and says when to ask again. Never rejects. */
  async #settle(question: Question, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#tools;
    const { wish, serviceIds } = question;
    const outcome = await this.#answer(wish, signal);
    if (signal.aborted) return;
    question.attempts++;
    // What is answered is a question no more, once the store has told of it.
    const pause = "error" in outcome ? pauseAfter(outcome.error, question.attempts) : writeRetryMs;
    question.at = clock.monotonic() + pause;
    if ("error" in outcome && question.attempts === 1) {
      const err = errorText(outcome.error);
      log.info("image not resolved", { image: wish.reference, err });
    }
    try {
      await this.#store.batch(
        [...serviceIds],
        (tx, id) => {
          const service = tx.get("service", id);
          if (service === undefined || !isSameWish(wishOf(service), wish)) return;
          const image =
            "error" in outcome
              ? imageAfterFailure(service, wish, outcome.error, this.#known(wish.reference))
              : imageAfterAnswer(service, wish, outcome, clock.now());
          if (image !== undefined) tx.update("service", { ...service, image });
        },
        { term: this.#term, signal },
      );
    } catch (error) {
      if (signal.aborted) return;
      log.warn("image of services not written", { err: errorText(error) });
      question.at = clock.monotonic() + writeRetryMs;
    }
  }

  async #answer(wish: Wish, signal: AbortSignal): Promise<Answer | { readonly error: unknown }> {
    const { clock } = this.#tools;
    try {
      const { domain } = parseReference(wish.reference);
      const silent = this.#silent.get(domain);
      if (silent !== undefined && silent.until > clock.monotonic()) return { error: silent.error };
      try {
        const answer = await this.#within(signal, (own) =>
          this.#registry.resolve(wish.reference, {
            auth: registryAuthOf(wish.registryAuth),
            signal: own,
          }),
        );
        this.#silent.delete(domain);
        return answer;
      } catch (error) {
        if (!isRefusal(error)) this.#noteSilence(domain, error);
        return { error };
      }
    } catch (error) {
      return { error };
    }
  }

  #noteSilence(domain: string, error: unknown): void {
    if (this.#silent.size >= silentMax) this.#silent.clear();
    this.#silent.set(domain, { until: this.#tools.clock.monotonic() + silenceMs, error });
  }

  /** Does something that may take as long as a registry may. */
  async #within<T>(signal: AbortSignal, work: (own: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const done = new AbortController();
    const stop = () => controller.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const timer = this.#tools.clock.sleep(askMs, done.signal).then(
      () =>
        controller.abort(new ClusterError("unavailable", "the registry did not answer in time")),
      () => {
        // It answered in time.
      },
    );
    try {
      return await work(controller.signal);
    } finally {
      done.abort();
      signal.removeEventListener("abort", stop);
      await timer;
    }
  }

  /** What some service knows of an image. */
  #known(reference: string): ServiceImage | undefined {
    let latest: ServiceImage | undefined;
    for (const { image } of this.#store.view().each("service")) {
      if (image?.reference !== reference || image.digest === "") continue;
      if (latest === undefined || image.resolvedAtMs > latest.resolvedAtMs) latest = image;
    }
    return latest;
  }
}
