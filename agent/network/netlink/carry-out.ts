/**
 * Carries out changes in the namespace this thread is in, and looks at it: by messages of rtnetlink(7), tens of microseconds
 * each.
 */
import { closeSync, openSync } from "node:fs";
import { getSystemErrorMap } from "node:util";
import type { SpaceContents } from "../model.ts";
import { askLink, type Change, intoGroup, messageOf, removeGroup, types } from "./change.ts";
import { contentsOf, questions } from "./contents.ts";
import { type Acknowledgement, NetlinkSession, protocols } from "./session.ts";

/** A change that failed. */
export interface FailedChange {
  /** Which of them. */
  readonly index: number;
  readonly error: string;
  /** What it takes away, or a device it needs, is not there. */
  readonly isAbsent: boolean;
}

/** All changes in order, past those that fail. @throws Error when there is no socket. */
export function carryOut(changes: readonly Change[]): FailedChange[] {
  const session = new NetlinkSession(protocols.route);
  try {
    return new Work(session, changes).all();
  } finally {
    session.close();
  }
}

/** What the namespace holds. @param everything As in `questions`. @throws Error when there is no socket. */
export function lookAround(everything: boolean): SpaceContents {
  const session = new NetlinkSession(protocols.route);
  try {
    return contentsOf(questions(everything).flatMap((question) => session.list(question)));
  } finally {
    session.close();
  }
}

/** Of devices that are removed together; those of others are in none, or in one of their own. */
const group = 0x736b_6570;
const noDevice = 19;
/** ENOENT, ESRCH, ENXIO, ENODEV, EADDRNOTAVAIL. */
const absentErrors = new Set([2, 3, 6, noDevice, 99]);

class Work {
  readonly #session: NetlinkSession;
  readonly #changes: readonly Change[];
  readonly #failed: FailedChange[] = [];
  /** Numbers of devices; they stay as long as the device. */
  #devices = new Map<string, number>();

  constructor(session: NetlinkSession, changes: readonly Change[]) {
    this.#session = session;
    this.#changes = changes;
  }

  all(): FailedChange[] {
    for (let index = 0; index < this.#changes.length; ) {
      const removals = this.#removalsFrom(index);
      if (removals > 1) this.#removeTogether(index, removals);
      else this.#one(index);
      index += Math.max(1, removals);
    }
    return this.#failed;
  }

  #removalsFrom(begin: number): number {
    let end = begin;
    while (this.#changes[end]?.what === "remove-link") end++;
    return end - begin;
  }

  #one(index: number): void {
    const change = this.#changes[index];
    if (change === undefined) return;
    const opened: number[] = [];
    try {
      const message = messageOf(change, {
        deviceOf: (name) => this.#deviceOf(name),
        descriptorOf: (file) => {
          const fd = openSync(file, "r");
          opened.push(fd);
          return fd;
        },
      });
      this.#note(index, this.#session.tell(message));
    } catch (error) {
      this.#fail(index, error);
    } finally {
      for (const fd of opened) closeSync(fd);
      if (change.what === "remove-link") this.#devices.delete(change.name);
    }
  }

  /** For each removal the kernel waits until no packet can be at the device; for a group of them once. */
  #removeTogether(begin: number, count: number): void {
    const marked: number[] = [];
    for (let index = begin; index < begin + count; index++) {
      const change = this.#changes[index];
      if (change?.what !== "remove-link") continue;
      try {
        const acknowledgement = this.#session.tell(intoGroup(this.#deviceOf(change.name), group));
        this.#note(index, acknowledgement);
        if (acknowledgement.errno === 0) marked.push(index);
      } catch (error) {
        this.#fail(index, error);
      }
      this.#devices.delete(change.name);
    }
    if (marked.length === 0) return;
    const acknowledgement = this.#session.tell(removeGroup(group));
    for (const index of marked) this.#note(index, acknowledgement);
  }

  #deviceOf(name: string): number {
    const known = this.#devices.get(name);
    if (known !== undefined) return known;
    const answer = this.#session.ask(askLink(name));
    if (answer?.type !== types.newLink) throw new AbsentDevice(name);
    const device = answer.body.readInt32LE(4);
    this.#devices.set(name, device);
    return device;
  }

  #note(index: number, { errno, words }: Acknowledgement): void {
    if (errno === 0) return;
    const [code, meaning] = getSystemErrorMap().get(-errno) ?? [`error ${errno}`, ""];
    const error = [words, meaning === "" ? code : meaning].filter((part) => part !== "").join(": ");
    this.#failed.push({ index, error, isAbsent: absentErrors.has(errno) });
  }

  #fail(index: number, error: unknown): void {
    const isAbsent = error instanceof AbsentDevice;
    this.#failed.push({
      index,
      error: error instanceof Error ? error.message : String(error),
      isAbsent,
    });
  }
}

class AbsentDevice extends Error {
  constructor(name: string) {
    super(`there is no device ${name}`);
  }
}
