/**
 * Waiting for a promise that knows nothing of signals.
 */

/**
 * The promise's result, or the signal's reason when that comes first.
 *
 * Leaves nothing behind in the signal. `Promise.race` with a promise of the abort would keep every result until then.
 */
export function aborting<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
