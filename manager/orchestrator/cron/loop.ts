/**
 * Begins the runs of jobs on a schedule (`skep.cron`): the leader's loop around `decide.ts`; `jobs/loop.ts` runs them.
 *
 * Every firing is decided within the transaction that stores it, with the last due time that was taken care of, and in the
 * term of this leader: one that was overtaken cannot store anything, and one that comes after it reads what is stored. A run
 * begins with the present data of the job's secrets and configs.
 */
import type { Service } from "../../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";
import { type CronSettings, cronSettingsOf } from "../../../src/common/job/cron-labels.ts";
import { isScheduled } from "../../../src/common/job/runs.ts";
import type { Change } from "../../state/change.ts";
import { type Follower, Waiting } from "../../state/follow.ts";
import type { Tx } from "../../state/transaction.ts";
import { Deadlines } from "../deadlines.ts";
import type { Leadership, Tools } from "../leadership.ts";
import { withDataForRun } from "../payloads/decide.ts";
import { presentIn } from "../payloads/present.ts";
import { type CronDecision, decideFiring } from "./decide.ts";

/** The loop of one leadership; run it with `follow`. */
export class CronLoop implements Follower {
  readonly component = "cron";
  readonly #leadership: Leadership;
  readonly #tools: Tools;
  readonly #services = new Waiting<string>();
  /** When services are due, by the wall clock. */
  readonly #due = new Deadlines();
  readonly #settings = new WeakMap<object, CronSettings>();

  constructor(leadership: Leadership, tools: Tools) {
    this.#leadership = leadership;
    this.#tools = tools;
  }

  lookAtAll(): void {
    this.#due.clear();
    for (const service of this.#leadership.store.view().each("service")) {
      if (isScheduled(service.jobStatus)) this.#services.add(service.id, service.id);
    }
  }

  changed(change: Change): void {
    if (change.table !== "service") return;
    const { kind, object, old } = change;
    if (kind === "remove" || !isScheduled(object.jobStatus)) this.#due.delete(object.id);
    else if (old?.jobStatus !== object.jobStatus || old?.spec !== object.spec)
      this.#services.add(object.id, object.id);
  }

  async work(signal: AbortSignal): Promise<number> {
    const { clock } = this.#tools;
    for (const id of this.#due.take(clock.now())) this.#services.add(id, id);
    await this.#services.drain((ids) => this.#look(ids, signal));
    return Math.max(0, this.#due.nextMs() - clock.now());
  }

  async #look(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const { store, term } = this.#leadership;
    const { clock } = this.#tools;
    const decisions = new Map<string, CronDecision>();
    const look = (tx: Tx, id: string) => {
      decisions.delete(id);
      const service = tx.get("service", id);
      const settings = service === undefined ? undefined : this.#settingsOf(service);
      if (service === undefined || settings === undefined) return;
      const decision = decideFiring(service, settings, clock.now());
      decisions.set(id, decision);
      if (decision.kind === "wait") return;
      const isRun = decision.kind === "fire";
      const next = isRun ? withDataForRun(service, presentIn(tx), clock.now()) : service;
      tx.update("service", { ...next, jobStatus: decision.status });
    };
    await store.batch(ids, look, { term, signal });
    for (const [id, decision] of decisions) this.#note(id, decision);
  }

  #note(id: string, decision: CronDecision): void {
    if (decision.kind === "wait") {
      if (decision.untilMs < Number.POSITIVE_INFINITY) this.#due.set(id, decision.untilMs);
      return;
    }
    const due = new Date(decision.nominalMs).toISOString();
    const fields = { "service.id": id, due };
    // The change of the service has it looked at again.
    if (decision.kind === "fire") this.#tools.log.info("job begun by its schedule", fields);
    else this.#tools.log.warn("job not begun", { ...fields, why: decision.why });
  }

  #settingsOf({ id, spec, jobStatus }: Service): CronSettings | undefined {
    if (spec === undefined || !isScheduled(jobStatus)) return undefined;
    let settings = this.#settings.get(spec);
    if (settings !== undefined) return settings;
    try {
      settings = cronSettingsOf(spec.annotations?.labels);
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      // Stored by a manager of another version.
      this.#tools.log.warn("schedule not read", { "service.id": id, err: errorText(error) });
    }
    if (settings !== undefined) this.#settings.set(spec, settings);
    return settings;
  }
}
