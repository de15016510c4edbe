/**
 * What a layer with a size is asked for, with programs of the test's own.
 */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SizedLayers } from "../../../../../agent/exec/containerd/sized-layers.ts";
import { Mount } from "../../../../../src/common/containerd/generated/protocol.ts";

describe("agent/exec/containerd/sized-layers", () => {
  const path = process.env["PATH"];
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-sized-"));
  });
  afterEach(() => {
    process.env["PATH"] = path;
    rmSync(folder, { recursive: true });
  });

  function usedWith(script: string): Promise<number | undefined> {
    const [programs, own] = [join(folder, "bin"), join(folder, "own")];
    for (const one of [programs, own]) mkdirSync(one);
    writeFileSync(join(programs, "du"), `#!/bin/sh\n${script}\n`);
    chmodSync(join(programs, "du"), 0o755);
    process.env["PATH"] = `${programs}:${path}`;
    const layers = new SizedLayers(join(folder, "layers"), async () => undefined);
    const mount = Mount.create({ type: "bind", source: own });
    return layers.usedBy({ id: "c1", storageBytes: 2 ** 26 }, [mount]);
  }

  it("keeps what somebody looks into until he is done", async () => {
    const calls: string[] = [];
    const place = join(folder, "c1");
    const run = async (program: string) => {
      calls.push(program);
    };
    const layers = new SizedLayers(folder, run, () => [place]);
    writeFileSync(`${place}.ext4`, "");
    const own = Mount.create({ type: "bind", source: folder });
    const look = () => layers.look({ id: "c1", storageBytes: 2 ** 26 }, [own]);
    const [one, other] = [await look(), await look()];
    await layers.rest("c1");
    one.done();
    await layers.rest("c1");
    assert.deepEqual(calls, []);
    other.done();
    await layers.rest("c1");
    assert.deepEqual(calls, ["umount"]);
  });

  it("counts what is there when files go while it looks", async () => {
    const script = "echo 'du: cannot access a: No such file or directory' >&2; echo 8192 x; exit 1";
    assert.equal(await usedWith(script), 8192);
  });

  it("says so when nothing can be counted", async () => {
    await assert.rejects(usedWith("echo 'du: no' >&2; exit 1"), /du: no/);
  });
});
