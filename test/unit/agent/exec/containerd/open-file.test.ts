/**
 * Files that are opened at once: that closing one waits for what is under way, as its number is soon another file's.
 */
import { equal, rejects, throws } from "node:assert/strict";
import { fstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OpenFile } from "../../../../../agent/exec/containerd/open-file.ts";

describe("agent/exec/containerd/open-file", () => {
  let folder = "";
  let path = "";

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-open-"));
    path = join(folder, "file");
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  it("reads and writes at places, and cuts", async () => {
    const file = OpenFile.open(path, "w+");
    equal(await file.write(Buffer.from("abcdef"), 1, null), 5);
    file.writeNow(Buffer.from("X"), 1);
    const buffer = Buffer.alloc(10);
    equal(await file.read(buffer, 3, 1), 3);
    equal(buffer.toString("utf8", 0, 3), "Xde");
    await file.truncate(2);
    equal(file.stat().size, 2);
    file.close();
    equal(readFileSync(path, "utf8"), "bX");
  });

  it("stays open until what is under way is done", async () => {
    writeFileSync(path, "text");
    const file = OpenFile.open(path, "r");
    const buffer = Buffer.alloc(4);
    const reading = file.read(buffer, 4, 0);
    file.close();
    equal(fstatSync(file.fd).size, 4);
    equal(await reading, 4);
    equal(buffer.toString(), "text");
    throws(() => fstatSync(file.fd), /EBADF/);
    await rejects(file.read(buffer, 4, 0), /closed/);
    // A second time is fine, and closes nobody else's file.
    const other = OpenFile.open(path, "r");
    file.close();
    equal(other.stat().size, 4);
    other.close();
  });
});
