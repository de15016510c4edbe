/**
 * Changes that are tried and not made: requests are decided as control decides them, over the tables and what was tried before,
 * and then the orchestrators', the allocator's and the scheduler's decisions are asked what would come of them.
 *
 * One is made for each plan, on whichever manager is asked, and thrown away. It holds no lock and proposes nothing; the tables
 * may move on meanwhile, which the plan's index tells whoever wants to carry it out.
 */
import {
  type MethodDescriptor,
  type Service,
  ServiceSpec,
} from "../../src/common/api/generated/api.ts";
import type { Clock } from "../../src/common/clock/clock.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { newId } from "../../src/common/ids/ids.ts";
import type { Random } from "../../src/common/random/random.ts";
import type {
  ClusterPlan,
  ObjectPlan,
  PlannedKind,
  ServicePlan,
} from "../../src/common/spec/cluster-plan.ts";
import { type Decision, decisionOf } from "../control/control.ts";
import type { GroupMember } from "../control/environment.ts";
import { type Answer, imageAfterAnswer, wishOf } from "../images/decide.ts";
import { slices } from "../orchestrator/leadership.ts";
import { withPresentData } from "../orchestrator/payloads/decide.ts";
import { defaultLogDriver } from "../orchestrator/task-factory.ts";
import { configOf } from "../orchestrator/update/plan.ts";
import type { Change } from "../state/change.ts";
import { checkChanges } from "../state/check.ts";
import { presentRevision } from "../state/payload.ts";
import type { Store } from "../state/store.ts";
import { Staging } from "../state/transaction.ts";
import type { View } from "../state/view.ts";
import { indexOf } from "./index-of.ts";
import { play, playRemoval, type Stage } from "./placing.ts";
import { Room } from "./room.ts";
import { stepsOf } from "./steps.ts";

/** What changes are tried with. */
export interface RehearsalOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly selfId: string;
  readonly members: readonly GroupMember[];
}

/** The kinds a plan is about, in the order they are told. */
const kinds: readonly PlannedKind[] = ["network", "secret", "config", "service"];

/** One try. */
export class Rehearsal {
  readonly #store: Store;
  readonly #o: RehearsalOptions;
  readonly #tx: Staging;

  constructor(store: Store, options: RehearsalOptions) {
    this.#store = store;
    this.#o = options;
    this.#tx = new Staging(store.state(), store.view());
  }

  /** The tables with what was tried. */
  view(): View {
    return this.#tx;
  }

  /** Tries a method of control. @throws ClusterError as the method would; nothing is kept of it then */
  call<Q, R>(method: MethodDescriptor<Q, R>, request: Q): R {
    const { clock, random, selfId, members } = this.#o;
    const decide: Decision<Q, R> = decisionOf(method);
    const objectId = (request as { readonly id?: string }).id || newId(random);
    const mark = this.#tx.mark();
    try {
      const answer = decide(this.#tx, request, {
        ...{ now: clock.now(), random, members, selfId },
        objectId,
      });
      const place = { index: this.#tx.index, term: 0, timeMs: clock.now() };
      const { refusal } = checkChanges(this.#store.state(), this.#tx.changes(), place);
      if (refusal !== undefined) throw new ClusterError(refusal.code, refusal.message);
      return answer;
    } catch (error) {
      this.#tx.rollback(mark);
      throw error;
    }
  }

  /** The services as they would be, with their images: so that registries can be asked. */
  services(): readonly Service[] {
    return this.#tx.changes().flatMap((change) => {
      return change.table === "service" && change.kind !== "remove" ? [change.object] : [];
    });
  }

  /**
   * What would come of everything that was tried.
   *
   * @param o.answers What registries say of images, by the reference in the spec.
   * @param o.related Ids of objects that the plan also relies on.
   */
  async plan(o: {
    readonly answers: ReadonlyMap<string, Answer>;
    readonly related: readonly string[];
  }): Promise<ClusterPlan> {
    const { clock, random } = this.#o;
    const room = await Room.read(this.#store, this.#tx, clock);
    const asked = this.#tx.changes().filter(isPlanned);
    const index = indexOf(this.#tx, asked, o.related);
    this.#takeToNewData();
    this.#nameImages(o.answers, room);
    const changes = this.#tx.changes().filter(isPlanned).sort(inOrder);
    const waits = allocate(changes, this.#tx, room);
    const objects = changes.map((change) => planOf(change, waits.get(change.object.id) ?? ""));
    const stage: Stage = {
      ...{ tx: this.#tx, room, random, now: clock.now() },
      logDriver: defaultLogDriver(this.#tx),
      pause: slices(clock),
    };
    const services: ServicePlan[] = [];
    for (const change of changes) {
      const found =
        change.table === "service" ? await servicePlan(change.object, stage) : undefined;
      if (found !== undefined) services.push(found);
    }
    return { index, objects, services };
  }

  /** New data of secrets and configs takes the services that use them along. */
  #takeToNewData(): void {
    const changed = this.#tx
      .changes()
      .some(({ table, kind }) => kind === "update" && (table === "secret" || table === "config"));
    if (!changed) return;
    for (const service of this.#tx.list("service")) {
      const present = ({
        kind,
        id,
      }: {
        readonly kind: "secret" | "config";
        readonly id: string;
      }) => {
        const object = this.#tx.get(kind, id);
        return object === undefined ? undefined : presentRevision(object);
      };
      const next = withPresentData(service, present, this.#o.clock.now());
      if (next !== undefined) this.#tx.update("service", next);
    }
  }

  #nameImages(answers: ReadonlyMap<string, Answer>, room: Room): void {
    const now = this.#o.clock.now();
    for (const service of this.services()) {
      const wish = wishOf(service);
      const answer = wish === undefined ? undefined : answers.get(wish.reference);
      if (wish === undefined || answer === undefined) continue;
      const next = { ...service, image: imageAfterAnswer(service, wish, answer, now) };
      room.images.note(next);
      this.#tx.update("service", next);
    }
  }
}

type PlannedChange = Extract<Change, { readonly table: PlannedKind }>;

function isPlanned(change: Change): change is PlannedChange {
  return (kinds as readonly string[]).includes(change.table);
}

/** What goes makes room; what is used comes before what uses it. */
function inOrder(a: PlannedChange, b: PlannedChange): number {
  const rank = ({ table, kind }: PlannedChange) =>
    kinds.indexOf(table) - (kind === "remove" ? kinds.length : 0);
  return rank(a) - rank(b);
}

/** Gives networks and services what they need. @returns why objects have to wait, by id. */
function allocate(
  changes: readonly PlannedChange[],
  view: View,
  room: Room,
): ReadonlyMap<string, string> {
  const gone = changes.filter(({ kind }) => kind === "remove");
  for (const { table, object } of gone) {
    if (table === "network") room.dropNetwork(object.id);
    else if (table === "service") room.dropService(object.id);
  }
  const waits = new Map<string, string>();
  // One that was made just now may not have its addresses yet: it gets them first.
  for (const { id } of view.list("network")) waits.set(id, room.allocateNetwork(id));
  for (const { table, kind, object } of changes)
    if (table === "service" && kind !== "remove")
      waits.set(object.id, room.allocateService(object.id));
  return waits;
}

function planOf(change: PlannedChange, waits: string): ObjectPlan {
  const { table: kind, object } = change;
  const action = change.kind === "update" && isSame(change) ? "none" : change.kind;
  return { kind, id: object.id, name: object.spec?.annotations?.name ?? "", action, waits };
}

/** Whether an update leaves everything as it is. */
function isSame(change: PlannedChange): boolean {
  if (change.table === "service") {
    const { object, old } = change;
    const isSameRun = object.jobStatus?.jobIteration === old?.jobStatus?.jobIteration;
    const bytes = (spec: ServiceSpec | undefined) =>
      ServiceSpec.encode(spec ?? ServiceSpec.create());
    return isSameRun && Buffer.compare(bytes(object.spec), bytes(old?.spec)) === 0;
  }
  if (change.table === "network") return false;
  const { object, old } = change;
  const labels = (one: typeof object | undefined) =>
    JSON.stringify(Object.entries(one?.spec?.annotations?.labels ?? {}).sort());
  return object.revision === old?.revision && labels(object) === labels(old);
}

/** What happens to the tasks of a service; undefined when nothing does. */
async function servicePlan({ id }: Service, stage: Stage): Promise<ServicePlan | undefined> {
  const { tx, now } = stage;
  const service = tx.get("service", id);
  const steps = stepsOf(id, tx, now);
  const { stop, start, replace, kept } = steps;
  if (stop.length + start.length + replace.length === 0) return undefined;
  if (service === undefined) {
    const base = stage.tx.find("task", "service", id)[0]?.serviceAnnotations?.name ?? "";
    return {
      ...{ id, name: base, task: undefined, kept: 0, order: "stop-first", parallelism: 0 },
      ...playRemoval(steps, stage),
    };
  }
  const { order, parallelism } = configOf(service);
  return {
    ...{ id, name: service.spec?.annotations?.name ?? "", task: service.spec?.task, kept, order },
    parallelism: Number.isFinite(parallelism) ? parallelism : 0,
    ...(await play(service, steps, stage)),
  };
}
