/**
 * What registries say for one plan: what the images of services stand for, and what they are made of. Each is asked side by side
 * with the others and waited for once: who was silent is not asked again.
 */
import { ClusterError, errorText } from "../../common/errors/cluster-error.ts";
import { planRegistryMs } from "../../common/limits/limits.ts";
import { parseReference } from "../../common/registry/reference.ts";
import type { ImageContents, ResolvedImage } from "../../common/registry/registry.ts";
import { registryAuthOf } from "../../common/registry/registry-auth.ts";
import type { EngineContext } from "../context.ts";
import type { RehearsalPort } from "../ports.ts";
import { registryInTime } from "../registry-wait.ts";
import type { Place } from "./places.ts";

/** What images are made of, by the key of their places, or why that is not known. */
export type Contents = ReadonlyMap<string, ImageContents | { readonly unknown: string }>;

/** What is asked. */
export interface AskingOptions {
  /** Whether registries are asked at all. */
  readonly asks: boolean;
  /** Images whose registries the client has waited for in vain, with the reason. */
  readonly silent: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}

/** The registries while one plan is made. */
export class PlanRegistries {
  readonly #context: Pick<EngineContext, "clock" | "ports">;
  readonly #o: AskingOptions;
  /** Why registries are not asked again. */
  readonly #silent = new Map<string, string>();
  readonly #unresolved = new Map<string, string>();

  constructor(context: Pick<EngineContext, "clock" | "ports">, options: AskingOptions) {
    this.#context = context;
    this.#o = options;
    for (const [image, reason] of options.silent) this.#silent.set(registryOf(image), reason);
  }

  /** Images of services that were made or changed and that stand for what nobody told, with the reason. */
  get unresolved(): ReadonlyMap<string, string> {
    return this.#unresolved;
  }

  /** What the images of services that were made or changed stand for, as far as registries told. */
  async resolve(
    rehearsal: Pick<RehearsalPort, "services">,
  ): Promise<ReadonlyMap<string, ResolvedImage>> {
    const wanted = new Map<string, string>();
    for (const { spec, image } of rehearsal.services()) {
      const container = spec?.task?.container;
      const reference = container?.image ?? "";
      const isKnown = image?.reference === reference && image.error === "";
      if (reference !== "" && !isKnown) wanted.set(reference, container?.pull?.registryAuth ?? "");
    }
    const answers = new Map<string, ResolvedImage>();
    const { registry } = this.#context.ports;
    await Promise.all(
      [...wanted].map(async ([reference, auth]) => {
        const options = { auth: registryAuthOf(auth) };
        const answer = await this.#ask(reference, (signal) =>
          registry.resolve(reference, { ...options, signal }),
        );
        // The managers go on without it, too: every node may try.
        if ("unknown" in answer) this.#unresolved.set(reference, answer.unknown);
        else answers.set(reference, answer);
      }),
    );
    this.#o.signal.throwIfAborted();
    return answers;
  }

  /** What the images in these places are made of. */
  async contents(places: readonly Place[]): Promise<Contents> {
    const { registry } = this.#context.ports;
    const lots = new Map(places.map(({ key, lot }) => [key, lot]));
    const found = await Promise.all(
      [...lots].map(async ([key, { image, ...lot }]) => {
        const unknown = this.#unresolved.get(image);
        if (unknown !== undefined) return [key, { unknown }] as const;
        const contents = await this.#ask(image, (signal) =>
          registry.contents(image, { ...lot, signal }),
        );
        return [key, contents] as const;
      }),
    );
    this.#o.signal.throwIfAborted();
    return new Map(found);
  }

  async #ask<T extends object>(
    image: string,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T | { readonly unknown: string }> {
    const { asks, signal } = this.#o;
    if (!asks) return { unknown: "registries were not to be asked" };
    const registry = registryOf(image);
    const reason = this.#silent.get(registry);
    if (reason !== undefined) return { unknown: reason };
    try {
      return await registryInTime(this.#context, { withinMs: planRegistryMs, signal }, work);
    } catch (error) {
      const unknown = errorText(error);
      if (error instanceof ClusterError && error.code === "unavailable")
        this.#silent.set(registry, unknown);
      return { unknown };
    }
  }
}

/** Where an image is; an image that is named wrongly is by itself. */
function registryOf(image: string): string {
  try {
    return parseReference(image).domain;
  } catch {
    return image;
  }
}
