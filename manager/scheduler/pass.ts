/**
 * Goes through the tasks of one group once, a few at a time: places those that fit and explains the rest. Pure.
 *
 * The loop cuts it where a slice ends and goes on with it later, so that a group of a hundred thousand tasks holds up nobody
 * and is not begun anew either. Tasks that come meanwhile are taken along.
 */
import type { Task } from "../../src/common/api/generated/api.ts";
import type { GroupDecision, Placement } from "./decide.ts";
import type { WaitingGroup } from "./waiting.ts";

/** Takes what is decided. */
export interface PassSink {
  place(placement: Placement): void;
  explain(task: Task, error: string): void;
}

/** One way through a group. */
export class GroupPass {
  readonly #group: WaitingGroup;
  readonly #sink: PassSink;
  /** Whether tasks that say already why they wait may say it anew. */
  readonly #mayRepeat: boolean;
  #decision: GroupDecision;
  #tasks: Iterator<Task>;
  /** Why no further task of the group can be placed; undefined as long as some may. */
  #error: string | undefined;
  #isOutdated = false;

  constructor(
    group: WaitingGroup,
    decision: GroupDecision,
    options: { readonly sink: PassSink; readonly mayRepeat: boolean },
  ) {
    this.#group = group;
    this.#decision = decision;
    this.#sink = options.sink;
    this.#mayRepeat = options.mayRepeat;
    this.#tasks = group.tasks.values();
  }

  /** Whether some task waits for another reason by now than it says. */
  get isOutdated(): boolean {
    return this.#isOutdated;
  }

  /** Something has happened since: the rest is decided by this. */
  decideAnew(decision: GroupDecision): void {
    this.#decision = decision;
  }

  /** Goes on with at most so many tasks. @returns whether it is through. */
  step(count: number): boolean {
    for (let left = count; left > 0; left--) {
      const next = this.#tasks.next();
      if (next.done === true) return true;
      this.#look(next.value);
    }
    return false;
  }

  #look(task: Task): void {
    if (this.#error !== undefined) {
      this.#explain(task, this.#error);
      return;
    }
    const { isFixed } = this.#group;
    const placement = isFixed ? this.#decision.confirm(task) : this.#decision.place(task);
    if (placement !== undefined) this.#sink.place(placement);
    else if (isFixed) this.#explain(task, this.#decision.explain(task.nodeId));
    else {
      // What does not fit for this one does not for the others: from here on it is only to be said.
      this.#error = this.#decision.explain();
      this.#tasks = this.#group.tasks.values();
    }
  }

  #explain(task: Task, error: string): void {
    const said = task.status?.error ?? "";
    if (said === error) return;
    if (said === "" || this.#mayRepeat) this.#sink.explain(task, error);
    else this.#isOutdated = true;
  }
}
