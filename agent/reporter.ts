/**
 * Brings the statuses of tasks to the cluster: the newest of each task, again and again until the leader has it.
 *
 * Outlives sessions. What was on its way when one ended is sent again in the next; what a newer status overtook is not.
 */
import {
  ObservedStatus,
  type TaskStatus,
  TaskStatusReport,
} from "../src/common/api/generated/api.ts";
import { taskErrorTextMax, taskStatusesPerMessageMax } from "../src/common/limits/agent.ts";

/** Says a report to the manager of the present session. */
export type SendReport = (report: TaskStatusReport) => void;

/** Reports on their way at a time: more only fills the manager's memory. */
const flyingMax = 4;

/** One node's reports. */
export class Reporter {
  /** Not sent yet. */
  readonly #waiting = new Map<string, TaskStatus>();
  /** Sent, and not known to be taken. */
  #flying: { readonly number: number; readonly statuses: ReadonlyMap<string, TaskStatus> }[] = [];
  #send: SendReport | undefined;
  #number = 0;
  #isDue = false;

  /** Takes a task's new status. */
  report(taskId: string, status: TaskStatus): void {
    this.#waiting.set(taskId, cut(status));
    this.#flushSoon();
  }

  /** The task is none of this node's any more: nobody asks for its status. */
  forget(taskId: string): void {
    this.#waiting.delete(taskId);
  }

  /** A session is there: everything that is not known to be taken goes out. */
  begin(send: SendReport): void {
    this.end();
    this.#send = send;
    this.#number = 0;
    this.#flushSoon();
  }

  /** The session is over. */
  end(): void {
    this.#send = undefined;
    const overtaken = [...this.#waiting];
    this.#waiting.clear();
    for (const { statuses } of this.#flying)
      for (const [id, s] of statuses) this.#waiting.set(id, s);
    for (const [id, status] of overtaken) this.#waiting.set(id, status);
    this.#flying = [];
  }

  /** The leader has all reports up to this number. */
  taken(number: number): void {
    this.#flying = this.#flying.filter((report) => report.number > number);
    this.#flushSoon();
  }

  /** How many statuses are not known to be taken. */
  get untaken(): number {
    return this.#flying.reduce((sum, { statuses }) => sum + statuses.size, this.#waiting.size);
  }

  /** What came in the same turn of the event loop shares a message. */
  #flushSoon(): void {
    if (this.#isDue || this.#send === undefined || this.#waiting.size === 0) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#send !== undefined && this.#waiting.size > 0 && this.#flying.length < flyingMax) {
      const some = [...this.#waiting].slice(0, taskStatusesPerMessageMax);
      for (const [taskId] of some) this.#waiting.delete(taskId);
      const number = ++this.#number;
      this.#flying.push({ number, statuses: new Map(some) });
      const statuses = some.map(([taskId, status]) => ObservedStatus.create({ taskId, status }));
      this.#send(TaskStatusReport.create({ number, statuses }));
    }
  }
}

/** A failure's text can be as long as a program likes; what is stored for ever is not. */
function cut(status: TaskStatus): TaskStatus {
  if (status.error.length <= taskErrorTextMax) return status;
  return { ...status, error: `${status.error.slice(0, taskErrorTextMax)}…` };
}
