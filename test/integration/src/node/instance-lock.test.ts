/** Daemons that start at the same moment: each data root is one's alone, also when a dead daemon left its lock there. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const probe = fileURLToPath(new URL("../../../support/lock-probe.js", import.meta.url));
/** More than a machine with few processors runs at once. */
const daemons = 4;

describe("src/node/instance-lock (at once)", function () {
  this.timeout(300_000);

  it("gives each data root to one of several that start at once", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-locks-"));
    const roots = Array.from({ length: 200 }, (_, i) => join(folder, `r${i}`));
    for (const [i, root] of roots.entries()) {
      mkdirSync(root);
      // A process with this start time there never was.
      if (i % 2 === 0) writeFileSync(join(root, "daemon.1-77.lock"), "");
    }
    const start = Date.now() + 1_500;
    const children = Array.from({ length: daemons }, () =>
      spawn(process.execPath, [probe, `${start}`, ...roots], {
        stdio: ["pipe", "pipe", "inherit"],
      }),
    );
    try {
      const said = await Promise.all(
        children.map(async ({ stdout }) => String((await once(stdout, "data"))[0])),
      );
      const got = said.flatMap((text) => JSON.parse(text) as string[]);
      assert.deepEqual(got.sort(), [...roots].sort());
      for (const root of roots) assert.equal(readdirSync(root).length, 1);
    } finally {
      await Promise.all(
        children.map(async (child) => {
          child.stdin.end();
          if (child.exitCode === null) await once(child, "exit");
        }),
      );
      rmSync(folder, { recursive: true });
    }
  });
});
