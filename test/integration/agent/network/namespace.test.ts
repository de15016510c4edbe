/**
 * Network namespaces as the kernel makes them.
 */
import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostSettings } from "../../../../agent/network/host-settings.ts";
import {
  command,
  isNamespace,
  makeNamespace,
  readSettings,
  removeNamespace,
  writeSettings,
} from "../../../../agent/network/namespace.ts";
import { silentLog } from "../../../../src/common/log/log.ts";

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

  it("have their settings back, those too that the kernel changes by itself", async () => {
    const forward = "net/ipv4/ip_forward";
    const redirects = "net/ipv4/conf/all/send_redirects";
    const before = await readSettings(file, [forward, redirects]);
    deepEqual([...before.values()], ["0", "1"]);
    const newLife = () => new HostSettings(join(folder, "settings.json"), file, silentLog);
    await newLife().need();
    await newLife().keep([redirects]);
    await writeSettings(file, [[redirects, "0"]]);
    // Of another life of the daemon, which finds them changed.
    await newLife().keep([redirects]);
    equal((await readSettings(file, [forward])).get(forward), "1");
    await newLife().release(false);
    deepEqual(await readSettings(file, [forward, redirects]), before);
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
