/**
 * The order of things of one kind, whatever they come to.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { Turns } from "../../../../../agent/exec/containerd/turns.ts";
import { settled } from "../../../../support/message-queue.ts";

describe("agent/exec/containerd/turns", () => {
  it("does things of one kind one after the other, and others meanwhile", async () => {
    const turns = new Turns();
    const begun: string[] = [];
    let end: () => void = () => undefined;
    const first = turns.run("a", () => {
      begun.push("a1");
      return new Promise<void>((resolve) => {
        end = resolve;
      });
    });
    const second = turns.run("a", async () => begun.push("a2"));
    await turns.run("b", async () => begun.push("b1"));
    await settled();
    deepEqual(begun, ["a1", "b1"]);
    end();
    await first;
    await second;
    deepEqual(begun, ["a1", "b1", "a2"]);
  });

  it("goes on after a failure, which its caller is told", async () => {
    const turns = new Turns();
    const failing = turns.run("a", () => Promise.reject(new Error("no")));
    const next = turns.run("a", async () => 2);
    await rejects(failing, /no/);
    equal(await next, 2);
  });
});
