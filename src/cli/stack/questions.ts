/**
 * When a deployment asks registries: for all services at once that wait for nothing more, so that registries that are silent
 * cost one wait; for those that depend on others once these are there, which may serve or push the image.
 */
import { ClusterError } from "../../common/errors/cluster-error.ts";
import type { StackService } from "../../stack/translate/stack.ts";
import { type FinalBody, finalBodies, type Wish } from "./body.ts";
import type { StackRun } from "./io.ts";

/** A service that was asked for. */
export interface Asked extends Wish {
  readonly final: Promise<FinalBody>;
}

/** Of one deployment. */
export class Questions {
  readonly #run: Pick<StackRun, "client" | "io" | "options">;
  #waiting: readonly Wish[];
  readonly #asked = new Map<string, Asked>();
  readonly #met = new Set<string>();

  constructor(run: Pick<StackRun, "client" | "io" | "options">, wishes: readonly Wish[]) {
    this.#run = run;
    this.#waiting = wishes;
  }

  /** The service waits for nothing more, nor do others that wait for the same. */
  about(service: StackService): Asked {
    for (const need of needsOf(service)) this.#met.add(need);
    const isDue = (wish: Wish) => needsOf(wish.service).every((need) => this.#met.has(need));
    const due = this.#waiting.filter(isDue);
    this.#waiting = this.#waiting.filter((wish) => !due.includes(wish));
    for (const one of finalBodies(this.#run, due)) this.#asked.set(one.service.name, one);
    const asked = this.#asked.get(service.name);
    if (asked === undefined) throw new ClusterError("internal", `no service ${service.name}`);
    return asked;
  }
}

function needsOf({ dependsOn }: StackService): string[] {
  return Object.entries(dependsOn).map(([key, { condition }]) => `${key} ${condition}`);
}
