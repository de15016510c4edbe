/**
 * What the maps of the programs at `connect` are told, in which order.
 */
import { deepEqual, equal } from "node:assert/strict";
import {
  type HookState,
  isNothing,
  noHooks,
  planHooks,
  type SpacePlace,
  withoutSpace,
} from "../../../../../agent/network/connect/plan.ts";
import { type Slots, slotsOf } from "../../../../../agent/network/nft/slots.ts";

const vip = "10.0.1.2";
const place = (file: string, services: Record<string, Slots>, table = "net"): SpacePlace => ({
  ...{ file, table },
  slots: new Map(Object.entries(services)),
});
const fresh = (...backends: string[]) => slotsOf(backends, undefined);
const hex = (bytes: Uint8Array, size: number) => {
  const text = Buffer.from(bytes).toString("hex");
  return text.match(new RegExp(`.{${2 * size}}`, "g")) ?? [];
};
/** Table, address and slot of keys, with the end of the value where they have one. */
const entries = (bytes: Uint8Array, valueBytes: number) =>
  hex(bytes, 24 + valueBytes).map((text) => {
    const [table, address, slot] = [text.slice(0, 8), text.slice(8, 40), text.slice(40, 48)];
    return [table, address.slice(16), slot, text.slice(64)].join(" ").trim();
  });
const come = (bytes: Uint8Array) => entries(bytes, 16);
const gone = (bytes: Uint8Array) => entries(bytes, 0);
const cookie = (number: number) => new Uint8Array([number, 0, 0, 0, 0, 0, 0, 0]);
/** The state after a plan, whose namespaces have got the cookies 1, 2 and so on. */
function told({ next, enter }: ReturnType<typeof planHooks>): HookState {
  const spaces = new Map(next.spaces);
  enter.forEach(({ file, table }, at) => {
    spaces.set(file, { cookie: cookie(at + 1), table });
  });
  return { ...next, spaces };
}

describe("agent/network/connect/plan", () => {
  it("tells backends, then how many, once for all namespaces with the same table", () => {
    const services = { [vip]: fresh("10.0.1.11", "10.0.1.12") };
    const plan = planHooks(noHooks, [place("a", services), place("b", services)]);
    const key = "01000000 0000ffff0a000102";
    deepEqual(come(plan.come), [
      `${key} 00000000 0000ffff0a00010b`,
      `${key} 01000000 0000ffff0a00010c`,
      `${key} ffffffff 0000000000000000`,
    ]);
    // How many, in the first word.
    equal(hex(plan.come, 40)[2]?.slice(48, 56), "02000000");
    deepEqual(plan.enter, [
      { file: "a", table: 1 },
      { file: "b", table: 1 },
    ]);
    equal(plan.left.length + plan.gone.length, 0);
  });

  it("writes addresses of IPv6 as they are", () => {
    const plan = planHooks(noHooks, [place("a", { "fd01::2": fresh("fd01::1:b") })]);
    equal(
      hex(plan.come, 40)[0],
      "01000000 fd010000000000000000000000000002 00000000 fd01000000000000000000000001000b".replaceAll(
        " ",
        "",
      ),
    );
  });

  it("tells a new backend by its slot and the number alone", () => {
    const before = fresh("10.0.1.11", "10.0.1.12");
    const state = told(planHooks(noHooks, [place("a", { [vip]: before })]));
    const more = slotsOf(["10.0.1.11", "10.0.1.12", "10.0.1.13"], before);
    const plan = planHooks(state, [place("a", { [vip]: more })]);
    deepEqual(
      come(plan.come).map((entry) => entry.split(" ")[2]),
      ["02000000", "ffffffff"],
    );
    equal(plan.enter.length + plan.left.length + plan.gone.length, 0);
  });

  it("counts one less before the last slot goes, whose backend has taken the free place", () => {
    const before = fresh("10.0.1.11", "10.0.1.12", "10.0.1.13");
    const state = told(planHooks(noHooks, [place("a", { [vip]: before })]));
    const less = slotsOf(["10.0.1.12", "10.0.1.13"], before);
    const plan = planHooks(state, [place("a", { [vip]: less })]);
    const key = "01000000 0000ffff0a000102";
    deepEqual(come(plan.come), [
      `${key} 00000000 0000ffff0a00010d`,
      `${key} ffffffff 0000000000000000`,
    ]);
    deepEqual(gone(plan.gone), [`${key} 02000000`]);
  });

  it("forgets a service that has no backends any more, its number first", () => {
    const state = told(planHooks(noHooks, [place("a", { [vip]: fresh("10.0.1.11") })]));
    const plan = planHooks(state, [place("a", { "10.0.1.3": fresh("10.0.1.21") })]);
    const key = "01000000 0000ffff0a000102";
    deepEqual(gone(plan.gone), [`${key} ffffffff`, `${key} 00000000`]);
  });

  it("forgets the number of a service whose last backend went, and has none of one without", () => {
    const before = fresh("10.0.1.11");
    const state = told(planHooks(noHooks, [place("a", { [vip]: before })]));
    const plan = planHooks(state, [place("a", { [vip]: slotsOf([], before) })]);
    const key = "01000000 0000ffff0a000102";
    deepEqual([come(plan.come), gone(plan.gone)], [[], [`${key} ffffffff`, `${key} 00000000`]]);
    const none = planHooks(noHooks, [place("a", { [vip]: fresh() })]);
    equal(none.come.length + none.gone.length, 0);
  });

  it("tells nothing where nothing changed", () => {
    const services = { [vip]: fresh("10.0.1.11") };
    const state = told(planHooks(noHooks, [place("a", services)]));
    equal(isNothing(planHooks(state, [place("a", { ...services })])), true);
    equal(isNothing(planHooks(noHooks, [])), true);
  });

  it("takes away namespaces that are not wanted, and tables that none has", () => {
    const [net, other] = [{ [vip]: fresh("10.0.1.11") }, { "10.0.2.2": fresh("10.0.2.11") }];
    const state = told(planHooks(noHooks, [place("a", net), place("b", other, "other")]));
    const plan = planHooks(state, [place("a", net)]);
    deepEqual(hex(plan.left, 8), ["0200000000000000"]);
    equal(gone(plan.gone)[0]?.startsWith("02000000 "), true);
    // Its number is not given to another one.
    const next = planHooks(told(plan), [place("a", net), place("c", other, "third")]);
    deepEqual(next.enter, [{ file: "c", table: 3 }]);
  });

  it("tells a namespace that is in other networks of its table", () => {
    const services = { [vip]: fresh("10.0.1.11") };
    const state = told(planHooks(noHooks, [place("a", services)]));
    const plan = planHooks(state, [place("a", services, "net other")]);
    deepEqual(plan.enter, [{ file: "a", table: 2 }]);
    equal(plan.left.length, 0);
    equal(gone(plan.gone).length, 2);
  });

  it("takes away a namespace whose file keeps another one now, and asks for that", () => {
    const services = { [vip]: fresh("10.0.1.11") };
    const state = told(planHooks(noHooks, [place("a", services)]));
    const plan = planHooks(withoutSpace(state, "a"), [place("a", services)]);
    deepEqual(hex(plan.left, 8), ["0100000000000000"]);
    deepEqual(plan.enter, [{ file: "a", table: 1 }]);
    equal(plan.come.length, 0);
    equal(withoutSpace(state, "unknown"), state);
  });
});
