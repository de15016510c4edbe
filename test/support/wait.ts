/**
 * Waiting for something outside this process, which can only be asked again and again. Tests of our own code in this
 * process use the fake clock instead.
 */

/** How long and how often to ask. */
export interface UntilOptions {
  /** Milliseconds after which the wait has failed. */
  readonly withinMs: number;
  /** Milliseconds between two questions; 50 when not given. */
  readonly everyMs?: number;
  /** What is waited for, in words, for the message. */
  readonly what: string;
}

/**
 * Resolves with the first value of `condition` that is neither false nor undefined. A condition that throws has not come
 * true yet; its last error is the cause when the time runs out.
 *
 * @throws Error when `withinMs` have passed.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: UntilOptions,
): Promise<Exclude<T, false | undefined>> {
  const deadline = performance.now() + options.withinMs;
  for (;;) {
    let cause: unknown;
    try {
      const value = await condition();
      if (value !== false && value !== undefined) return value as Exclude<T, false | undefined>;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`not within ${options.withinMs} ms: ${options.what}`, { cause });
    }
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 50));
  }
}
