/**
 * When the programs at `connect` are loaded and told of something; the thread that does it is a fake.
 */
import { deepEqual, equal, match, throws } from "node:assert/strict";
import { fstatSync, openSync } from "node:fs";
import { assemble } from "../../../../../agent/network/bpf/assembler.ts";
import { wordTypes } from "../../../../../agent/network/bpf/type-info.ts";
import { ConnectHooks } from "../../../../../agent/network/connect/connect-hooks.ts";
import { unifiedGroup } from "../../../../../agent/network/connect/group.ts";
import { noHooks, planHooks, type SpacePlace } from "../../../../../agent/network/connect/plan.ts";
import { connecting, maps, naming } from "../../../../../agent/network/connect/programs.ts";
import type {
  HeldHooks,
  HookAnswer,
  HookJob,
} from "../../../../../agent/network/connect/request.ts";
import { slotsOf } from "../../../../../agent/network/nft/slots.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";

const place = (file: string, ...backends: string[]): SpacePlace => ({
  ...{ file, table: "net" },
  slots: new Map([["10.0.1.2", slotsOf(backends, undefined)]]),
});

/** Answers everything but what `refuses` names, and keeps what it was asked. */
function fakeThread(refuses = "", gone: readonly string[] = []) {
  let held: HeldHooks | undefined;
  const asked: string[] = [];
  const opened: number[] = [];
  const open = () => {
    const descriptor = openSync("/dev/null", "r");
    opened.push(descriptor);
    return descriptor;
  };
  const answer = (job: HookJob): HookAnswer => {
    const isThere = job.namespace === undefined || !gone.includes(job.namespace);
    const done = { ok: job.what !== refuses && isThere, output: "error 1" };
    if (!done.ok) return done;
    if (job.what === "load-hooks") {
      const [spaces, backends, link] = [open(), open(), open()];
      return { ...done, hooks: { spaces, backends, links: [link] } };
    }
    if (job.what === "read-hooks") return { ...done, ...(held === undefined ? {} : { held }) };
    return job.what === "enter-hooks" ? { ...done, cookie: new Uint8Array(8) } : done;
  };
  const hooks = async (jobs: readonly HookJob[]) => {
    asked.push(jobs.map(({ what, namespace = "" }) => `${what} ${namespace}`.trim()).join(", "));
    return jobs.map(answer);
  };
  const holds = (what: HeldHooks) => {
    held = what;
  };
  return { asked, opened, hooks, holds };
}

const newHooks = (thread: Pick<ReturnType<typeof fakeThread>, "hooks">, isWanted = true) =>
  new ConnectHooks({ thread, isWanted, log: silentLog });

describe("agent/network/connect", () => {
  it("loads programs with the first namespace, and tells of changes alone", async () => {
    const thread = fakeThread();
    const hooks = newHooks(thread);
    await hooks.apply([]);
    deepEqual(thread.asked, []);
    await hooks.apply([place("a", "10.0.1.11")]);
    await hooks.apply([place("a", "10.0.1.11")]);
    const entering = (file: string) => `tell-hooks, enter-hooks ${file}, tell-hooks`;
    deepEqual(thread.asked, ["load-hooks", entering("a")]);
    await hooks.apply([place("a", "10.0.1.11"), place("b", "10.0.1.11")]);
    await hooks.apply([place("b", "10.0.1.12")]);
    deepEqual(thread.asked.slice(2), [entering("b"), "tell-hooks, tell-hooks"]);
    hooks.forget("b");
    await hooks.apply([place("b", "10.0.1.12")]);
    deepEqual(thread.asked.slice(4), [entering("b")]);
    hooks.close();
  });

  it("asks again for a namespace that could not be entered", async () => {
    const thread = fakeThread("", ["a"]);
    const hooks = newHooks(thread);
    await hooks.apply([place("a", "10.0.1.11")]);
    await hooks.apply([place("a", "10.0.1.11")]);
    equal(thread.asked.filter((text) => text.includes("enter-hooks a")).length, 2);
    hooks.close();
  });

  for (const what of ["load-hooks", "tell-hooks"]) {
    it(`leaves it to the rules for good when ${what} is refused`, async () => {
      const thread = fakeThread(what);
      const hooks = newHooks(thread);
      await hooks.apply([place("a", "10.0.1.11")]);
      const { length } = thread.asked;
      await hooks.apply([place("a", "10.0.1.12")]);
      equal(thread.asked.length, length);
      for (const descriptor of thread.opened) throws(() => fstatSync(descriptor), /EBADF/);
    });
  }

  it("leaves it to the rules where nobody wants programs, and where there is no thread", async () => {
    const thread = fakeThread();
    await newHooks(thread, false).apply([place("a", "10.0.1.11")]);
    deepEqual(thread.asked, []);
    await newHooks({ hooks: async () => [] }).apply([place("a", "10.0.1.11")]);
  });

  it("starts anew after its end", async () => {
    const thread = fakeThread();
    const hooks = newHooks(thread);
    await hooks.apply([place("a", "10.0.1.11")]);
    hooks.close();
    await hooks.apply([place("a", "10.0.1.11")]);
    equal(thread.asked.filter((text) => text === "load-hooks").length, 2);
    hooks.close();
  });

  describe("checks", () => {
    const own = place("a", "10.0.1.11");
    const well: HeldHooks = {
      spaces: Buffer.from("000000000000000001000000", "hex"),
      backends: planHooks(noHooks, [own]).come,
      linked: 1,
    };
    const asks = async (held: HeldHooks, refuses = "") => {
      const thread = fakeThread(refuses);
      const hooks = newHooks(thread);
      await hooks.apply([own]);
      thread.holds(held);
      const before = thread.asked.length;
      const found = await hooks.check();
      const checked = thread.asked.slice(before);
      await hooks.apply([own]);
      const applied = thread.asked.slice(before + checked.length);
      hooks.close();
      return { found, checked, applied };
    };

    it("find nothing where all is as it was told", async () => {
      deepEqual(await asks(well), { found: undefined, checked: ["read-hooks"], applied: [] });
    });

    it("restore backends at once", async () => {
      const { found = "", checked, applied } = await asks({ ...well, backends: new Uint8Array(0) });
      match(found, /^2 entries of backends are missing/);
      deepEqual([checked, applied], [["read-hooks", "tell-hooks"], []]);
    });

    it("enter a namespace again with what is applied next", async () => {
      const { applied } = await asks({ ...well, spaces: new Uint8Array(0) });
      deepEqual(applied, ["tell-hooks, enter-hooks a, tell-hooks"]);
    });

    it("load programs anew that were taken away", async () => {
      const { found, applied } = await asks({ ...well, linked: 0 });
      equal(found, "1 of 1 programs are taken away");
      deepEqual(applied, ["load-hooks", "tell-hooks, enter-hooks a, tell-hooks"]);
    });

    it("leave it to the rules where the kernel does not tell", async () => {
      deepEqual((await asks(well, "read-hooks")).applied, []);
    });

    it("ask nobody where there are no programs", async () => {
      const thread = fakeThread();
      const hooks = newHooks(thread);
      deepEqual([await hooks.check(), await hooks.look()], [undefined, undefined]);
      deepEqual(thread.asked, []);
    });
  });

  it("has programs whose jumps all lead somewhere", () => {
    const descriptors = Object.fromEntries(Object.keys(maps).map((name, at) => [name, at + 3]));
    for (const steps of [connecting(4), connecting(6), naming(4), naming(6)]) {
      equal(assemble(steps, descriptors).length % 8, 0);
    }
  });

  it("writes types as the kernel reads them", () => {
    const text = [
      ...["9feb0100 18000000", "00000000 28000000 28000000 05000000"],
      ...["01000000 00000001 04000000 20000001"],
      ...["00000000 00000003 00000000 01000000 01000000 04000000", "00696e7400"],
    ];
    equal(wordTypes(4).toString("hex"), text.join("").replaceAll(" ", ""));
  });

  it("finds the root of the control groups, wherever it is mounted", () => {
    const line = (root: string, path: string, type: string) =>
      `35 25 0:31 ${root} ${path} rw,relatime shared:9 - ${type} ${type} rw`;
    const v1 = line("/", "/sys/fs/cgroup/memory", "cgroup");
    const part = line("/docker/1", "/sys/fs/part", "cgroup2");
    const all = line("/", "/sys/fs/cgroup/unified", "cgroup2");
    equal(unifiedGroup([v1, part, all].join("\n")), "/sys/fs/cgroup/unified");
    equal(unifiedGroup([v1, part].join("\n")), "/sys/fs/part");
    throws(() => unifiedGroup(v1), /version 2/);
  });
});
