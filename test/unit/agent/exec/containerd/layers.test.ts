/**
 * Files of a container read through its layers, links and hidden folders included.
 */
import { equal } from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { layersOf, readInLayers } from "../../../../../agent/exec/containerd/layers.ts";
import { Mount } from "../../../../../src/common/containerd/generated/protocol.ts";

describe("agent/exec/containerd/layers", () => {
  const dir = mkdtempSync(join(tmpdir(), "skep-layers-"));
  const layer = (name: string) => join(dir, name);
  const upper = layer("upper");
  const lower = layer("lower");
  const layers = [upper, lower];
  const put = (path: string, text: string) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };
  const link = (path: string, target: string) => {
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(target, path);
  };
  const read = (path: string) => readInLayers(layers, path, 1000)?.toString();

  before(() => {
    put(join(dir, "outside/secret"), "of the node");
    put(join(lower, "etc/passwd"), "lower");
    put(join(lower, "etc/group"), "group of lower");
    put(join(upper, "etc/passwd"), "upper");
    link(join(upper, "absolute"), "/etc/group");
    link(join(upper, "relative"), "etc/../etc/./group");
    link(join(upper, "above"), "../../../../../../../etc/group");
    link(join(upper, "outside"), join(dir, "outside/secret"));
    link(join(upper, "folder"), "/etc");
    link(join(upper, "circle"), "/circle");
    put(join(upper, "opt"), "a file over a folder");
    put(join(lower, "opt/file"), "hidden");
    put(join(lower, "large"), "x".repeat(2000));
  });

  after(() => rmSync(dir, { recursive: true }));

  const cases: readonly [string, string, string | undefined][] = [
    ["reads the uppermost file", "/etc/passwd", "upper"],
    ["reads through to lower layers", "/etc/group", "group of lower"],
    ["follows an absolute link inside the layers", "/absolute", "group of lower"],
    ["follows a relative link", "/relative", "group of lower"],
    ["does not climb above the root", "/above", "group of lower"],
    ["never looks at what a link points to on the node", "/outside", undefined],
    ["follows a link to a folder", "/folder/passwd", "upper"],
    ["gives up on a circle of links", "/circle", undefined],
    ["does not see what a file hides", "/opt/file", undefined],
    ["knows what is not there", "/etc/shadow", undefined],
    ["reads no folder", "/etc", undefined],
    ["reads nothing beyond the bound", "/large", undefined],
  ];
  for (const [fact, path, text] of cases) it(fact, () => equal(read(path), text));

  it("reads the folders out of an overlay's options, and the one of a lone layer", () => {
    const overlay = Mount.create({
      type: "overlay",
      source: "overlay",
      options: ["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/b:/a"],
    });
    equal(layersOf([overlay]).join(), "/u,/b,/a");
    equal(layersOf([Mount.create({ type: "bind", source: "/s" })]).join(), "/s");
  });
});
