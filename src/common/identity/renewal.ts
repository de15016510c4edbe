/**
 * When a node renews its certificate: pure decisions, as Docker's swarm takes them.
 */
import type { Random } from "../random/random.ts";

/** First wait after a failed renewal. */
export const renewalRetryMsMin = 1_000;
/** Longest wait between attempts: with 20 % of an hour's life left there are still several. */
export const renewalRetryMsMax = 2 * 60_000;

/**
 * The moment to renew: uniformly random between 50 % and 80 % of the certificate's time, so that nodes that joined
 * together do not renew together.
 */
export function renewalMomentMs(
  certificate: { readonly notBeforeMs: number; readonly notAfterMs: number },
  random: Random,
): number {
  const life = certificate.notAfterMs - certificate.notBeforeMs;
  return certificate.notBeforeMs + life * (0.5 + 0.3 * random.float());
}

/** How long to wait after the `attempt`-th failure (from 1): doubling, bounded, with half of it random. */
export function renewalRetryMs(attempt: number, random: Random): number {
  const full = Math.min(renewalRetryMsMax, renewalRetryMsMin * 2 ** Math.min(attempt - 1, 20));
  return full * (0.5 + 0.5 * random.float());
}
