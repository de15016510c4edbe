/** The rules of the tidy test, each on a planted fault: a rule that cannot fail protects nothing. */
import { deepEqual } from "node:assert/strict";
import { cycleFaults, layerFaults } from "../../../support/tidy/layers.ts";
import { purityFaults } from "../../../support/tidy/purity.ts";
import { shapeFaults } from "../../../support/tidy/shape.ts";
import { parse } from "../../../support/tidy/source.ts";
import { wordFaults } from "../../../support/tidy/words.ts";

const opening = "/** Says what this file holds and where it sits. */\n";

function layer(path: string, target: string): string[] {
  const up = "../".repeat(path.split("/").length - 1);
  return layerFaults(parse(path, `import "${up}${target}";`)).map((fault) => fault.message);
}

function shape(text: string, path = "src/node/a.ts"): string[] {
  return shapeFaults(parse(path, text)).map((fault) => fault.message);
}

function purity(path: string, text: string): string[] {
  return purityFaults(parse(path, text)).map((fault) => fault.message);
}

describe("test/support/tidy/layers", () => {
  const refused: [string, string][] = [
    ["manager/scheduler/loop.ts", "manager/allocator/ports.ts"],
    ["manager/state/store.ts", "manager/raft/host.ts"],
    ["manager/raft/host.ts", "manager/state/proposer.ts"],
    ["manager/raft/core/raft.ts", "src/common/clock/clock.ts"],
    ["manager/manager.ts", "agent/agent.ts"],
    ["agent/worker.ts", "manager/manager.ts"],
    ["agent/worker.ts", "agent/exec/containerd/client.ts"],
    ["agent/network/network.ts", "agent/images/pull.ts"],
    ["src/engine/server.ts", "manager/control/control.ts"],
    ["src/playground/playground.ts", "src/node/daemon.ts"],
    ["src/node/node.ts", "manager/state/store.ts"],
    ["src/common/errors/cluster-error.ts", "src/common/log/log.ts"],
    ["src/common/identity/token.ts", "src/common/rpc/client.ts"],
    ["src/bin/skep.ts", "test/support/wait.ts"],
    ["manager/unheard-of/loop.ts", "src/common/log/log.ts"],
  ];
  for (const [path, target] of refused) {
    it(`refuses ${target} in ${path}`, () => {
      const unknown = path.includes("unheard-of");
      const message = unknown ? "is in no folder of the import table" : `must not import ${target}`;
      deepEqual(layer(path, target), [message]);
    });
  }

  const allowed: [string, string][] = [
    ["manager/scheduler/loop.ts", "manager/state/store.ts"],
    ["manager/raft/raft-node.ts", "manager/raft/core/raft.ts"],
    ["manager/manager.ts", "manager/scheduler/loop.ts"],
    ["agent/exec/containerd/executor.ts", "agent/network/network.ts"],
    ["src/node/node.ts", "manager/manager.ts"],
    ["src/common/rpc/client.ts", "src/common/identity/types.ts"],
    ["test/sim/run.ts", "manager/raft/core/raft.ts"],
  ];
  for (const [path, target] of allowed) {
    it(`allows ${target} in ${path}`, () => deepEqual(layer(path, target), []));
  }

  it("sees every way of importing", () => {
    const ways = [
      'import { a } from "../../manager/state/store.ts";',
      'import type { A } from "../../manager/state/store.ts";',
      'export { a } from "../../manager/state/store.ts";',
      'export * from "../../manager/state/store.ts";',
      'const a = await import("../../manager/state/store.ts");',
      'type A = import("../../manager/state/store.ts").A;',
    ];
    for (const way of ways) {
      deepEqual(
        layerFaults(parse("src/engine/a.ts", way)).map((fault) => fault.message),
        ["must not import manager/state/store.ts"],
        way,
      );
    }
  });

  it("names the files of a circle", () => {
    const sources = [
      parse("src/node/a.ts", 'import "./b.ts";'),
      parse("src/node/b.ts", 'import "./c.ts";'),
      parse("src/node/c.ts", 'import "./b.ts";'),
    ];
    deepEqual(
      cycleFaults(sources).map((fault) => fault.message),
      ["imports itself: src/node/b.ts -> src/node/c.ts -> src/node/b.ts"],
    );
  });
});

describe("test/support/tidy/purity", () => {
  const faults: [string, string][] = [
    ['import { readFileSync } from "node:fs";', "import node:fs"],
    ["const now = Date.now();", "use Date.now"],
    ["const now = new Date();", "use new Date()"],
    ["const now = Date();", "use Date()"],
    ["const x = Math.random();", "use Math.random"],
    ["async function f() {}", "use async"],
    ["const f = async () => 1;", "use async"],
    ["await f();", "use await"],
    ["setTimeout(f, 1);", "use setTimeout"],
    ["const e = process.env;", "use process"],
    ["const p = Promise.resolve(1);", "use Promise"],
  ];
  for (const [text, what] of faults) {
    it(`refuses ${text}`, () => {
      deepEqual(purity("manager/raft/core/a.ts", text), [`is pure and must not ${what}`]);
      deepEqual(purity("manager/orchestrator/jobs/reconcile.ts", text).length, 1);
      deepEqual(purity("manager/orchestrator/jobs/loop.ts", text), []);
    });
  }

  it("allows names that only look impure", () => {
    deepEqual(purity("manager/state/apply.ts", "x.process(); const y = { crypto: 1 };"), []);
    deepEqual(purity("src/engine/translate/a.ts", "new Date(ms).toISOString();"), []);
  });
});

describe("test/support/tidy/shape", () => {
  const faults: [string, string, string][] = [
    ["no opening", "const a = 1;", "must open with a docstring: what it holds and where it sits"],
    [
      "a short opening",
      "/** A. */\n",
      "must open with a docstring: what it holds and where it sits",
    ],
    ["an export without docstring", `${opening}export const a = 1;`, "export a has no docstring"],
    ["any", `${opening}let a: any;`, "any is not used"],
    ["!", `${opening}f(a!);`, "! is not used: check, or assert with a message"],
    ["enums", `${opening}enum A { b }`, "enums are not used: write a union of string literals"],
    ["default exports", `${opening}export default 1;`, "default exports are not used"],
    ["export *", `${opening}export * from "./b.ts";`, "export * hides what a file offers"],
    ["an empty catch", `${opening}try { f(); } catch {}`, "an empty catch needs a sentence"],
    ["a TODO", `${opening}// TODO: later\n`, "a TODO has an issue number"],
    [
      "long functions",
      `${opening}function f() {\n${"g();\n".repeat(69)}}`,
      "function has 71 lines; 70 is the limit",
    ],
    ["long files", `${opening}${"g();\n".repeat(600)}`, "has 601 lines; 600 is the limit"],
  ];
  for (const [what, text, message] of faults) {
    it(`refuses ${what}`, () => deepEqual(shape(text), [message]));
  }

  it("refuses index files and other spellings of file names", () => {
    deepEqual(shape(opening, "src/node/index.ts"), [
      "index files are not used: import the file that holds the thing",
    ]);
    deepEqual(shape(opening, "src/node/raftNode.ts"), ["file names are kebab-case"]);
  });

  it("allows a documented export, overloads, a catch with its reason and long suites", () => {
    const overloads = "/** Does. */\nexport function f(a: 1): 1;\nexport function f(a: 2): 2;\n";
    deepEqual(shape(`${opening}${overloads}try { f(); } catch {\n // Gone: fine.\n}`), []);
    const suite = `${opening}describe("a", () => {\n${"g();\n".repeat(80)}});`;
    deepEqual(shape(suite, "test/unit/a.test.ts"), []);
    deepEqual(shape(`#!/usr/bin/env node\n${opening}`), []);
  });
});

describe("test/support/tidy/words", () => {
  it("refuses registry hosts and paths of one machine", () => {
    const host = ["registry", "npmjs", "org"].join(".");
    deepEqual(wordFaults("a.md", `see https://${host}/x`).length, 1);
    for (const folder of ["work", "root", "home"]) {
      deepEqual(wordFaults("a.ts", `const a = "/${folder}/me/x";`).length, 1);
    }
    deepEqual(wordFaults("a.ts", 'const a = "/var/lib/skep"; // a/work/b'), []);
  });
});
