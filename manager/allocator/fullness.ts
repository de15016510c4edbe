/**
 * Warns, once, of networks that run out of addresses. Pure but for the log.
 */
import type { Log } from "../../src/common/log/log.ts";
import type { AllocationBook, NetworkPage } from "./book.ts";

/** Share of taken addresses that is worth a warning ... */
const warnedFrom = 0.75;
/** ... and below which it may be worth another one. */
const forgottenBelow = 0.7;

/** Which networks were warned of. */
export class Fullness {
  readonly #warned = new Set<string>();

  /** Looks at all networks. */
  look(book: AllocationBook, log: Log): void {
    for (const page of book.pages()) {
      const { taken, size } = countOf(page);
      const { id, spec } = page.network;
      if (size === 0 || taken < size * forgottenBelow) this.#warned.delete(id);
      else if (taken >= size * warnedFrom && !this.#warned.has(id)) {
        this.#warned.add(id);
        const name = spec?.annotations?.name ?? id;
        log.warn("network is running out of addresses", { "network.id": id, name, taken, size });
      }
    }
  }
}

/** IPv4 only: the others do not run out. */
function countOf({ subnets }: NetworkPage): { readonly taken: number; readonly size: number } {
  let [taken, size] = [0, 0];
  for (const subnet of subnets) {
    if (subnet.prefix.family !== 4) continue;
    taken += subnet.taken;
    size += subnet.size;
  }
  return { taken, size };
}
