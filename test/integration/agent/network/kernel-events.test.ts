/**
 * What the kernel tells of changes that other programs make in a network namespace.
 */
import { equal } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KernelEvents } from "../../../../agent/network/kernel-events.ts";
import { command, makeNamespace, removeNamespace } from "../../../../agent/network/namespace.ts";

describe("agent/network/kernel-events", () => {
  const filter = { ownPrefix: "skep_test_", device: "up0" };
  let folder: string;
  let file: string;
  let events: KernelEvents;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-events-"));
    file = join(folder, "one");
    await makeNamespace(file);
    await run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "other0");
    const opened = KernelEvents.open(file);
    if (opened === undefined) throw new Error("netlink cannot be listened to");
    events = opened;
  });
  after(async () => {
    events?.close();
    await removeNamespace(file);
    rmSync(folder, { recursive: true, force: true });
  });

  async function run(...words: string[]): Promise<void> {
    const { code, stderr } = await command(words, { file });
    equal(code, 0, stderr);
  }

  it("is nothing while nobody changes anything", () => {
    equal(events.changed(filter), false);
  });

  // In this order: each goes on from the one before.
  const changes: readonly (readonly [string, string, boolean])[] = [
    ["the device to the others", "ip link set up0 mtu 1400", true],
    ["another device", "ip link set other0 mtu 1400", false],
    ["a table of ours that is made", "nft add table inet skep_test_guard", false],
    [
      "a chain of ours",
      "nft add chain inet skep_test_guard c { type filter hook input priority 0 ; }",
      false,
    ],
    ["a rule of ours", "nft add rule inet skep_test_guard c accept", false],
    ["a table of others", "nft add table inet firewall", true],
    [
      "a chain of others",
      "nft add chain inet firewall c { type filter hook forward priority 0 ; policy drop ; }",
      true,
    ],
    ["a rule of others", "nft add rule inet firewall c accept", false],
    ["all rules that are flushed", "nft flush ruleset", true],
    ["the device that goes", "ip link del up0", true],
  ];
  for (const [what, line, isTold] of changes) {
    it(`${isTold ? "tells of" : "keeps to itself"} ${what}`, async () => {
      await run(...line.split(" "));
      equal(events.changed(filter), isTold);
      equal(events.changed(filter), false);
    });
  }

  it("tells when there was more than the kernel keeps", async () => {
    const rules = "add rule inet skep_test_guard c accept\n".repeat(10_000);
    const input = `add table inet skep_test_guard\nadd chain inet skep_test_guard c\n${rules}`;
    equal((await command(["nft", "-f", "-"], { file, input })).code, 0);
    equal(events.changed(filter), true);
  });
});
