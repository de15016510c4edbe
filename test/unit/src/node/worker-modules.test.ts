/** What a daemon loads at its start, read from the built files. */
import { ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Our files that are loaded with one: what its built form, where types are gone, imports without being asked. */
function loadedWith(entry: URL): Set<string> {
  const found = new Set<string>();
  const visit = (file: URL) => {
    if (found.has(file.pathname)) return;
    found.add(file.pathname);
    const text = readFileSync(file, "utf8");
    for (const [, request = ""] of text.matchAll(/^(?:import|export) [^;"]*"(\.[^"]+\.js)";/gm)) {
      visit(new URL(request, file));
    }
  };
  visit(entry);
  return found;
}

describe("src/node/daemon", () => {
  it("loads the manager only on a node that is one", () => {
    const daemon = new URL("../../../../src/node/daemon.js", import.meta.url);
    const loaded = loadedWith(daemon);
    const of = (path: string) => fileURLToPath(new URL(`../../${path}`, daemon));
    ok(loaded.has(of("src/node/member.js")), "the walk finds what is loaded");
    ok(loaded.has(of("manager/state/store.js")));
    ok(!loaded.has(of("manager/manager.js")));
    ok(![...loaded].some((path) => path.startsWith(of("manager/scheduler/"))));
  });
});
