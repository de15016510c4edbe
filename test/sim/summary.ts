/**
 * Adds up histories for the report of a run.
 */
import { faultNames } from "./faults.ts";
import { eventsMin, operationsMin } from "./history.ts";
import type { HistoryReport } from "./report.ts";

/** The sum over a run. */
export class Summary {
  readonly failures: HistoryReport[] = [];
  readonly #began = performance.now();
  readonly #beganCpu = process.cpuUsage();
  #histories = 0;
  /** Histories that met the least size and saw a change of leader or a crash. */
  #counted = 0;
  #events = 0;
  #operations = 0;
  #unknown = 0;
  #leaderChanges = 0;
  #undecided = 0;
  readonly #faults = new Map<string, { total: number; histories: number }>();

  add(report: HistoryReport): void {
    this.#histories++;
    this.#events += report.events;
    this.#operations += report.operations;
    this.#unknown += report.unknown;
    this.#leaderChanges += report.leaderChanges;
    if (report.undecided) this.#undecided++;
    if (report.failure !== undefined) this.failures.push(report);
    const crashed = (report.faults["crash"] ?? 0) > 0;
    const large = report.events >= eventsMin && report.operations >= operationsMin;
    if (large && (report.leaderChanges > 1 || crashed)) this.#counted++;
    for (const [name, count] of Object.entries(report.faults)) {
      const sum = this.#faults.get(name) ?? { total: 0, histories: 0 };
      sum.total += count;
      sum.histories++;
      this.#faults.set(name, sum);
    }
  }

  /** The report for people. */
  text(): string {
    const { wall, cpu } = this.#hours();
    const lines = [
      `histories ${this.#histories}, of which ${this.#counted} count (at least ${eventsMin} events, ${operationsMin} operations, a change of leader or a crash)`,
      `events ${this.#events}, client operations ${this.#operations} (${this.#unknown} with unknown outcome), elections won ${this.#leaderChanges}`,
      `histories per hour ${Math.round(this.#histories / wall)} (per hour of this process's CPU ${Math.round(this.#histories / cpu)})`,
      "faults (times, in how many histories):",
    ];
    for (const name of faultNames) {
      const { total, histories } = this.#faults.get(name) ?? { total: 0, histories: 0 };
      lines.push(
        `  ${name.padEnd(34)} ${String(total).padStart(9)} ${String(histories).padStart(7)}`,
      );
    }
    if (this.#undecided > 0)
      lines.push(`linearizability undecided in ${this.#undecided} histories`);
    for (const { seed, failure } of this.failures) {
      lines.push(`FAILED seed ${seed}: ${failure?.split("\n")[0]}`);
    }
    lines.push(`${this.#histories - this.failures.length} held, ${this.failures.length} failed`);
    return lines.join("\n");
  }

  /** The report for programs. */
  json(): string {
    return JSON.stringify({
      passed: this.#histories - this.failures.length,
      failed: this.failures.length,
      skipped: 0,
      counted: this.#counted,
      events: this.#events,
      operations: this.#operations,
      histories_per_hour: Math.round(this.#histories / this.#hours().wall),
      faults: Object.fromEntries(this.#faults),
      failures: this.failures,
    });
  }

  #hours(): { readonly wall: number; readonly cpu: number } {
    const { user, system } = process.cpuUsage(this.#beganCpu);
    const hour = 3_600_000;
    return { wall: (performance.now() - this.#began) / hour, cpu: (user + system) / 1000 / hour };
  }
}
