/** Facts about the count of a thread's wait for the processor. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownProcessorWait } from "../../../../manager/raft/processor-wait.ts";

describe("manager/raft/processor-wait", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-wait-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("reads anew each time what the kernel counts, in milliseconds", () => {
    const path = join(folder, "schedstat");
    writeFileSync(path, "81500000 2500000 417\n");
    const wait = ownProcessorWait(path);
    assert.equal(wait.readMs(), 2.5);
    writeFileSync(path, "81900000 1002500000 418\n");
    assert.equal(wait.readMs(), 1002.5);
    wait.close();
  });

  it("counts nothing where the kernel does not tell, and once closed", () => {
    const absent = ownProcessorWait(join(folder, "absent"));
    assert.equal(absent.readMs(), 0);
    absent.close();
    const path = join(folder, "strange");
    writeFileSync(path, "no numbers\n");
    const wait = ownProcessorWait(path);
    assert.equal(wait.readMs(), 0);
    wait.close();
    wait.close();
    assert.equal(wait.readMs(), 0);
  });

  it("knows that of the calling thread", () => {
    const wait = ownProcessorWait();
    const first = wait.readMs();
    assert.ok(first >= 0 && wait.readMs() >= first);
    wait.close();
  });
});
