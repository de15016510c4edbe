/**
 * Has what is called often compiled sooner.
 *
 * V8 optimizes a function once it has run through some 270 KB of its bytecode, as its profile is better then. That is meant for
 * programs which compute for a while after their start. A manager makes a few steps for a change, and nearly rests between two of
 * them: it went through thousands of changes before the way of one was compiled, and each cost two to three times the processor
 * time until then (`docs/acceptance.md`, A7). The profile of so plain a way is good early. What is optimized too early is thrown
 * away and optimized again, at the price of some processor time in a thread of V8's own.
 */
import { setFlagsFromString } from "node:v8";

/** Bytes of bytecode between two looks at a function, of which V8 makes four or more; 67,584 in V8 11.3. */
const budgetBytes = 8_000;

/** For all threads of the process. */
export function compileSoon(): void {
  setFlagsFromString(`--interrupt-budget=${budgetBytes}`);
}
