/**
 * A client of the replicated registers: puts, gets and conditional puts, one after the other, with time-outs, retries of
 * the same transaction at other members, and now and then an operation it gives up, whose outcome nobody knows.
 */
import { encodeTransaction } from "../../manager/state/action.ts";
import { newChange } from "../../manager/state/change.ts";
import type { State } from "../../manager/state/state.ts";
import { versionOf } from "../../manager/state/tables.ts";
import { Config, Meta, StoreEntryParts } from "../../src/common/api/generated/api.ts";
import type { Random } from "../../src/common/random/random.ts";
import type { Operation } from "./check/linearizability.ts";
import { Violation } from "./check/violation.ts";
import type { Machine } from "./machine.ts";
import { type Fate, keyId, registerOf, registerValue } from "./main-side.ts";
import { between } from "./parameters.ts";
import { milliseconds } from "./queue.ts";
import type { World } from "./world.ts";

/** What a client knows of a key: good enough to try a conditional put. */
interface Known {
  readonly value: number;
  readonly version: number;
}

/** What all clients share. */
export interface Workload {
  readonly world: World;
  /** All operations of the history. */
  readonly operations: Operation[];
  /** A value nobody has written before. */
  readonly nextValue: () => number;
}

/** Chance that an answer does not reach the client, and that it gives up after a time-out. */
const answerLossRate = 0.03;
const giveUpRate = 0.1;

/** One client. */
export class Client {
  readonly #workload: Workload;
  readonly #id: number;
  readonly #random: Random;
  readonly #known = new Map<number, Known>();
  #sequence = 0;
  #attempt = 0;
  #target: Machine | undefined;
  #stopping = false;
  /** Whether the registers are there; creating them is never given up. */
  #operating = false;
  /** Whether an operation is under way. */
  busy = false;

  constructor(workload: Workload, id: number) {
    this.#workload = workload;
    this.#id = id;
    this.#random = workload.world.randomFor(`client ${id}`);
  }

  /** Creates all registers, then calls `done`. */
  setUp(done: () => void): void {
    const { keys } = this.#workload.world.parameters;
    const changes = Array.from({ length: keys }, (_, key) =>
      newChange("create", "config", registerOf(key, 0), undefined),
    );
    const transaction = this.#transaction(changes);
    this.busy = true;
    this.#propose(transaction, () => {
      this.busy = false;
      done();
    });
  }

  /** Begins to work. */
  start(): void {
    this.#operating = true;
    this.#think();
  }

  /** Ends what is under way, however long it takes, and begins nothing new. */
  stop(): void {
    this.#stopping = true;
  }

  #think(): void {
    const { queue, parameters } = this.#workload.world;
    queue.after(Math.round(parameters.thinkTime * between(this.#random, 0.2, 1.8)), () => {
      if (!this.#stopping) this.#operate();
    });
  }

  #operate(): void {
    const { parameters, queue } = this.#workload.world;
    const { keys, getShare, casShare } = parameters;
    const key = this.#random.int(keys);
    const draw = this.#random.float();
    const known = this.#known.get(key);
    const kind =
      draw < getShare ? "get" : draw < getShare + casShare && known !== undefined ? "cas" : "put";
    const operation: Operation = {
      key,
      kind,
      value: kind === "get" ? 0 : this.#workload.nextValue(),
      expected: kind === "cas" ? (known?.value ?? 0) : 0,
      start: queue.now,
      end: Number.POSITIVE_INFINITY,
      result: 0,
    };
    this.#workload.operations.push(operation);
    this.busy = true;
    if (kind === "get") this.#get(operation);
    else this.#write(operation, kind === "cas" ? known : undefined);
  }

  #get(operation: Operation): void {
    this.#tryUntilDone(
      (target, done) => {
        target.later(0, ({ node, main }) => {
          const { safety } = this.#workload.world;
          const committed = safety.committedIndex;
          node.readIndex().then(
            (index) => {
              if (index < committed) this.#workload.world.violate(staleRead(index, committed));
              main.readAt(index, (state) => target.later(0, () => done(state)));
            },
            () => done(undefined),
          );
        });
      },
      (state: State) => {
        const config = state.get("config", keyId(operation.key));
        const value = registerValue(config as Config | undefined);
        this.#known.set(operation.key, {
          value,
          version: config === undefined ? 0 : versionOf(config),
        });
        this.#finish(operation, value);
      },
    );
  }

  #write(operation: Operation, known: Known | undefined): void {
    const { key, value } = operation;
    const old = Config.create({
      id: keyId(key),
      meta: Meta.create({ version: known?.version ?? 0 }),
    });
    const transaction = this.#transaction([
      newChange("update", "config", registerOf(key, value), old),
    ]);
    this.#known.delete(key);
    this.#propose(transaction, (fate) => {
      const config = fate.kind === "lost" ? undefined : fate.state.get("config", keyId(key));
      // Another client may have written since; then the version is not that of this value.
      if (config !== undefined && registerValue(config as Config) === value) {
        this.#known.set(key, { value, version: versionOf(config) });
      }
      const applied = fate.kind === "applied";
      if (!applied && operation.kind === "put") {
        throw new Violation(
          "linearizability",
          `an unconditional put of value ${value} was refused`,
        );
      }
      this.#finish(operation, applied ? 1 : 0);
    });
  }

  #transaction(changes: Parameters<typeof encodeTransaction>[0]["changes"]): Uint8Array {
    return encodeTransaction({
      changes,
      preconditions: [],
      term: 0,
      clientId: this.#id + 1,
      sequence: ++this.#sequence,
    });
  }

  #propose(transaction: Uint8Array, then: (fate: Fate) => void): void {
    const sequence = this.#sequence;
    this.#tryUntilDone((target, done) => {
      target.onMain(({ node, main }) => {
        const { queue } = this.#workload.world;
        const timeMs = 1_700_000_000_000 + Math.round(queue.now / 1000) + target.clockOffset;
        const entry = StoreEntryParts.encode({ format: 1, timeMs, transactions: [transaction] });
        let position: { firstIndex: number; term: number };
        try {
          position = node.propose([entry]);
        } catch {
          // Not the leader, or too much waits: certainly in no log.
          done(undefined);
          return;
        }
        main.waitFor({
          index: position.firstIndex,
          term: position.term,
          clientId: this.#id + 1,
          sequence,
          done: (fate) => {
            target.later(0, () => done(fate.kind === "lost" ? undefined : fate));
          },
        });
      });
    }, then);
  }

  /** Asks members in turn until one gives an answer. `attempt` calls back with nothing when another try is needed. */
  #tryUntilDone<T>(
    attempt: (target: Machine, done: (answer: T | undefined) => void) => void,
    then: (answer: T) => void,
  ): void {
    const { queue, parameters } = this.#workload.world;
    const token = ++this.#attempt;
    const target = this.#chooseTarget();
    const again = (giveUp: boolean) => {
      if (token !== this.#attempt) return;
      this.#attempt++;
      this.#target = undefined;
      if (giveUp && this.#operating && !this.#stopping && this.#random.float() < giveUpRate)
        this.#giveUp();
      else queue.after(milliseconds(20), () => this.#tryUntilDone(attempt, then));
    };
    const patience = parameters.electionTick * parameters.tick * between(this.#random, 0.5, 3);
    queue.after(Math.round(patience), () => again(true));
    const delay = Math.round(parameters.networkDelay * between(this.#random, 0.5, 1.5));
    queue.after(delay, () => {
      attempt(target, (answer) => {
        if (this.#random.float() < answerLossRate) return;
        queue.after(delay, () => {
          if (answer === undefined) again(false);
          else if (token === this.#attempt) {
            this.#attempt++;
            this.#target = target;
            then(answer);
          }
        });
      });
    });
  }

  #finish(operation: Operation, result: number): void {
    operation.result = result;
    operation.end = this.#workload.world.queue.now;
    this.busy = false;
    this.#think();
  }

  #giveUp(): void {
    this.busy = false;
    this.#think();
  }

  /** The member that answered last, or the leader as some member knows it, or anybody. */
  #chooseTarget(): Machine {
    const { machines } = this.#workload.world;
    if (this.#target !== undefined && this.#random.float() < 0.7) return this.#target;
    // At the end machines that are off stay off: who asks those alone, by lot, would wait for no fault of the group.
    const asked = this.#stopping
      ? machines.filter(({ process }) => process !== undefined)
      : machines;
    const any = asked[this.#random.int(asked.length)] ?? machines[0];
    if (any === undefined) throw new Error("no machine");
    const leader = any.process?.node.leadership.leader ?? 0;
    if (leader === 0 || this.#random.float() < 0.3) return any;
    return this.#workload.world.machineOf(leader) ?? any;
  }
}

function staleRead(index: number, committed: number): Violation {
  const detail = `a read may be served at ${index} although ${committed} was committed when it came`;
  return new Violation("linearizability", detail);
}
