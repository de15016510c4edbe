/**
 * Network namespaces as the kernel makes them.
 */
import { doesNotMatch, equal, match } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  command,
  isNamespace,
  makeNamespace,
  removeNamespace,
} from "../../../../agent/network/namespace.ts";

describe("agent/network/namespace", () => {
  let folder: string;
  let file: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-namespace-"));
    file = join(folder, "one");
    await makeNamespace(file);
  });
  afterEach(async () => {
    await removeNamespace(file);
    rmSync(folder, { recursive: true, force: true });
  });

  it("are kept by a file until they are removed", async () => {
    equal(isNamespace(file), true);
    await removeNamespace(file);
    equal(isNamespace(file), false);
  });

  it("have usable IPv6 addresses on a bridge with its first port", async () => {
    const input = [
      "link add gw0 type bridge",
      "link add port0 type veth peer name port1",
      "addr add fd18::1/64 dev gw0",
      "link set gw0 up",
      "link set port1 up",
      "link set port0 master gw0 up",
      "",
    ].join("\n");
    equal((await command(["ip", "-batch", "-"], { file, input })).code, 0);
    const { stdout } = await command(["ip", "-6", "addr", "show", "dev", "gw0"], { file });
    match(stdout, /fe80::/);
    doesNotMatch(stdout, /tentative/);
  });
});
