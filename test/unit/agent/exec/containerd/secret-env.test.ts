/**
 * Secret variables: which calls of a runtime program are changed, and how; what can be a variable.
 */
import { deepEqual, equal, match, throws } from "node:assert/strict";
import {
  standInCall,
  standInScript,
  variableFrom,
  withVariables,
  withVariablesInBundle,
} from "../../../../../agent/exec/containerd/secret-env.ts";

const global = ["--root", "/run/m/id/state/skep", "--log", "/b/log.json", "--log-format", "json"];

describe("agent/exec/containerd/secret-env", () => {
  const calls: readonly (readonly [string, readonly string[], object | undefined])[] = [
    [
      "a create",
      ["create", "--bundle", "/b", "--pid-file", "/b/init.pid", "id"],
      { memory: "/run/m/id", at: 8, kind: "bundle" },
    ],
    [
      "an exec",
      ["exec", "--process", "/tmp/p", "--detach", "id"],
      { memory: "/run/m/id", at: 8, kind: "process" },
    ],
    ["a start", ["start", "id"], undefined],
    ["a kill", ["kill", "--all", "id", "9"], undefined],
  ];
  for (const [what, words, expected] of calls) {
    it(`knows what to change of ${what}`, () => {
      deepEqual(standInCall([...global, ...words]), expected);
    });
  }

  it("changes nothing without a folder of the program's state", () => {
    equal(standInCall(["create", "--bundle", "/b", "id"]), undefined);
  });

  it("puts variables in place of those of the same name", () => {
    const { env } = withVariables({ env: ["A=1", "B=2", "AB=3"] }, { A: "x=y", C: "" });
    deepEqual(env, ["A=x=y", "C=", "B=2", "AB=3"]);
    deepEqual(withVariables({}, { A: "1" }), { env: ["A=1"] });
  });

  it("keeps the root file system of a bundle that is read from elsewhere", () => {
    const text = JSON.stringify({ root: { path: "rootfs", readonly: true }, process: { env: [] } });
    deepEqual(JSON.parse(withVariablesInBundle(text, "/b", { A: "1" })), {
      root: { path: "/b/rootfs", readonly: true },
      process: { env: ["A=1"] },
    });
  });

  it("writes a script that quotes every word", () => {
    match(
      standInScript("runc", ["/o'k/node", "/m.js"]),
      /exec '\/o'\\''k\/node' '\/m\.js' 'runc' "\$@"/,
    );
  });

  it("takes a payload without the line ends it closes with", () => {
    const value = (text: string) => variableFrom("A", Buffer.from(text), "secret a");
    deepEqual([value("x"), value("x\n"), value("x\ny\n\n"), value("")], ["x", "x", "x\ny", ""]);
  });

  const refused: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ["a zero byte", Buffer.from("a\0b"), /it has a zero byte/],
    ["too much", Buffer.alloc(131_072, "a"), /longer than 131069 bytes/],
    ["no text", Buffer.from([0xff, 0xfe]), /it is no text/],
  ];
  for (const [what, data, reason] of refused) {
    it(`refuses ${what}`, () => {
      throws(() => variableFrom("A", data, "secret a"), reason);
    });
  }
});
