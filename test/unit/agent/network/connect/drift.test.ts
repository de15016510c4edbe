/**
 * What the kernel has otherwise than it was told, what restores it, and what a person is told of it.
 */
import { deepEqual, equal } from "node:assert/strict";
import type { ConnectLook } from "../../../../../agent/network/connect/connect-hooks.ts";
import { driftOf } from "../../../../../agent/network/connect/drift.ts";
import { addressOf, backendKey, countOf } from "../../../../../agent/network/connect/entries.ts";
import {
  type HookState,
  noHooks,
  planHooks,
  type SpacePlace,
} from "../../../../../agent/network/connect/plan.ts";
import { countSlot } from "../../../../../agent/network/connect/programs.ts";
import type { HeldHooks } from "../../../../../agent/network/connect/request.ts";
import { compareConnects } from "../../../../../agent/network/explain/connects.ts";
import { hostSpace } from "../../../../../agent/network/model.ts";
import { slotsOf } from "../../../../../agent/network/nft/slots.ts";

const vip = "10.0.1.2";
const cookie = Buffer.from([7, 0, 0, 0, 0, 0, 0, 0]);
const place: SpacePlace = {
  ...{ file: "a", table: "net" },
  slots: new Map([
    [vip, slotsOf(["10.0.1.11", "10.0.1.12"], undefined)],
    ["fd01:0::2", slotsOf(["fd01::1:b"], undefined)],
    ["10.0.1.3", slotsOf([], undefined)],
  ]),
};
const plan = planHooks(noHooks, [place]);
const state: HookState = { ...plan.next, spaces: new Map([["a", { cookie, table: 1 }]]) };
const space = (of: Uint8Array, table: number) => Buffer.concat([of, Buffer.from([table, 0, 0, 0])]);
const well: HeldHooks = { spaces: space(cookie, 1), backends: plan.come, linked: 4 };
const row = (slot: number, value: Uint8Array) => Buffer.concat([backendKey(1, vip, slot), value]);
/** Without the entries of a slot of the first service, and with these. */
const others = (slot: number, ...more: readonly Uint8Array[]): HeldHooks => {
  const rows: Uint8Array[] = [];
  for (let at = 0; at < plan.come.length; at += 40) {
    const one = plan.come.subarray(at, at + 40);
    if (!row(slot, new Uint8Array(0)).equals(one.subarray(0, 24))) rows.push(one);
  }
  return { ...well, backends: Buffer.concat([...rows, ...more]) };
};
const look = (held: HeldHooks): ConnectLook => ({
  ...held,
  links: 4,
  cookies: new Map([["a", cookie]]),
});
const told = (held: HeldHooks) =>
  compareConnects([{ space: "c1", slots: place.slots }], look(held), () => "a").flatMap(
    ({ differences }) => differences,
  );

describe("agent/network/connect/drift", () => {
  it("finds nothing where the kernel has what it was told, in whatever order", () => {
    const turned = Buffer.concat([plan.come.subarray(40), plan.come.subarray(0, 40)]);
    for (const held of [well, { ...well, backends: turned }]) {
      const { come, gone, left, files, found } = driftOf(state, held);
      deepEqual([come.length, gone.length, left.length, files, found], [0, 0, 0, [], ""]);
      deepEqual(told(held), []);
    }
  });

  it("restores backends that are missing or others, and takes away what nobody told", () => {
    const other = row(0, addressOf("10.0.1.99"));
    const extra = row(2, addressOf("10.0.1.13"));
    const { come, gone, found } = driftOf(state, others(0, other, extra));
    deepEqual(come, row(0, addressOf("10.0.1.11")));
    deepEqual(gone, Buffer.from(backendKey(1, vip, 2)));
    equal(
      found,
      "1 entries of backends are missing or others, 1 entries of backends are not of Skep",
    );
    deepEqual(told(others(0, other, extra)), [
      `programs at connect: service address ${vip} does not lead to 10.0.1.11`,
      `programs at connect: service address ${vip} leads to 10.0.1.99, which is not ready`,
    ]);
  });

  it("tells of backends that are not drawn, as their number is missing or too small", () => {
    const [second, both] = ["10.0.1.12", ["10.0.1.11", "10.0.1.12"]];
    const text = (backend: string) =>
      `programs at connect: service address ${vip} does not lead to ${backend}`;
    deepEqual(told(others(countSlot)), both.map(text));
    deepEqual(told(others(countSlot, row(countSlot, countOf(1)))), [text(second)]);
    deepEqual(driftOf(state, others(countSlot)).come, row(countSlot, countOf(2)));
  });

  it("tells of addresses of IPv6 as people write them", () => {
    const held = { ...well, backends: well.backends.subarray(0, 3 * 40) };
    deepEqual(told(held), [
      "programs at connect: service address fd01::2 does not lead to fd01::1:b",
    ]);
  });

  it("has namespaces told again that are missing or have another table, and takes others away", () => {
    for (const spaces of [new Uint8Array(0), space(cookie, 2)]) {
      deepEqual(driftOf(state, { ...well, spaces }).files, ["a"]);
    }
    const foreign = Buffer.alloc(8, 9);
    const both = Buffer.concat([space(cookie, 1), space(foreign, 1)]);
    const { left, files, found } = driftOf(state, { ...well, spaces: both });
    deepEqual([left, files], [foreign, []]);
    equal(found, "1 namespaces are not of Skep");
    deepEqual(told({ ...well, spaces: new Uint8Array(0) }), [
      "programs at connect: they do not know the container",
    ]);
  });

  it("leaves namespaces that went to the next change", () => {
    const gone = Buffer.alloc(8, 9);
    const spaces = Buffer.concat([space(cookie, 1), space(gone, 1)]);
    equal(driftOf({ ...state, left: [gone] }, { ...well, spaces }).found, "");
  });

  it("tells of programs that were taken away, and nothing while rules lead", () => {
    const compare = (known: ConnectLook | undefined) =>
      compareConnects([{ space: "c1", slots: place.slots }], known, () => "a");
    const [own] = compare(look({ ...well, linked: 3 }));
    equal(own?.space, hostSpace);
    deepEqual(own?.differences, [
      "1 of 4 programs that lead connections to service addresses are taken away",
    ]);
    deepEqual(compare(undefined), []);
    const unknown = compare({ ...look(well), cookies: new Map() });
    deepEqual(unknown, [{ space: hostSpace, compared: 4, differences: [] }]);
  });
});
