/**
 * Has what is called often compiled sooner, except while the processors have other work to do.
 *
 * V8 optimizes a function once it has run through some 270 KB of its bytecode, as its profile is better then. That is meant for
 * programs which compute for a while after their start. A manager makes a few steps for a change, and nearly rests between two of
 * them: it went through thousands of changes before the way of one was compiled, and each cost two to three times the processor
 * time until then (`docs/acceptance.md`, A7). The profile of so plain a way is good early. What is optimized too early is thrown
 * away and optimized again, at the price of some processor time in a thread of V8's own.
 *
 * That price is paid by others where a node starts its containers: every processor has work then, and a fifth of it was V8's
 * compiler (`docs/acceptance.md`, B6).
 */
import { setFlagsFromString } from "node:v8";

/** Bytes of bytecode between two looks at a function, of which V8 makes four or more. */
const budgetBytes = { soon: 8_000, usual: 67_584 };

let isSoon = false;
/** Pieces of work that go on, of those which need the processors for others. */
let busy = 0;

/** For all threads of the process. */
export function compileSoon(): void {
  isSoon = true;
  setBudget();
}

/** Has V8 take its usual time while the work goes on. */
export async function compileLaterDuring<T>(work: () => Promise<T>): Promise<T> {
  if (busy++ === 0) setBudget();
  try {
    return await work();
  } finally {
    if (--busy === 0) setBudget();
  }
}

/** Where nobody asked for sooner, V8 is left alone. */
function setBudget(): void {
  if (!isSoon) return;
  setFlagsFromString(`--interrupt-budget=${busy === 0 ? budgetBytes.soon : budgetBytes.usual}`);
}
