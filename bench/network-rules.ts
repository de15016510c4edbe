/**
 * Measures what a change of the data path's rules costs: one backend more or less in one namespace, by number of backends, and
 * the same change in fifty namespaces, through the thread of libnftables and by processes of `nft`.
 *
 * From the data of the change to the kernel's word that it is done, in namespaces made for it. Needs root.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { RulesApplier } from "../agent/network/nft/applier.ts";
import { ProcessNftables, ThreadNftables } from "../agent/network/nft/library.ts";
import { type TaskTable, taskTable } from "../agent/network/nft/task-table.ts";
import { silentLog } from "../src/common/log/log.ts";
import type { BenchResult } from "./main.ts";
import { median } from "./median.ts";

const backendCounts = [10, 100, 1_000, 10_000] as const;
const namespaceCount = 50;

/** Numbers in milliseconds: `network_rules_change_b1000_thread_ms`, `network_rules_50_namespaces_process_ms`. */
export async function run({ quick }: { readonly quick: boolean }): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-rules-"));
  const spaces = Array.from({ length: namespaceCount }, (_, n) => join(folder, String(n)));
  const results: Record<string, number> = {};
  const made: string[] = [];
  try {
    for (const space of spaces) {
      writeFileSync(space, "");
      execFileSync("unshare", [`--net=${space}`, "true"]);
      made.push(space);
    }
    const rounds = quick ? 3 : 21;
    for (const [way, nftables] of [
      ["thread", new ThreadNftables({ log: silentLog })],
      ["process", new ProcessNftables()],
    ] as const) {
      const applier = new RulesApplier({ nftables, log: silentLog });
      for (const count of backendCounts) {
        const times = await changes(applier, { spaces: spaces.slice(0, 1), count, rounds });
        results[`network_rules_change_b${count}_${way}_ms`] = median(times);
      }
      const times = await changes(applier, { spaces, count: 10, rounds: quick ? 1 : 7 });
      results[`network_rules_${namespaceCount}_namespaces_${way}_ms`] = median(times);
      await applier.close();
    }
  } finally {
    for (const space of made) execFileSync("umount", [space]);
    rmSync(folder, { recursive: true });
  }
  return results;
}

/** One backend leaves, and comes, in turn; milliseconds of each change, in all namespaces together. */
async function changes(
  applier: RulesApplier,
  o: { readonly spaces: readonly string[]; readonly count: number; readonly rounds: number },
): Promise<number[]> {
  const all = Array.from({ length: o.count }, (_, n) => `10.1.${n >> 8}.${n & 255}`);
  let table: TaskTable | undefined;
  const apply = (backends: readonly string[]) => {
    const services = [{ address: "10.0.0.2", backends, affinity: false }];
    const next = taskTable({ services, dns: undefined }, table);
    table = next;
    return Promise.all(o.spaces.map((space) => applier.apply(space, next)));
  };
  await apply(all);
  const times: number[] = [];
  for (let round = 0; round < o.rounds; round++) {
    const start = performance.now();
    await apply(round % 2 === 0 ? all.slice(1) : all);
    times.push(performance.now() - start);
    // As far apart as changes of a cluster are: each leaves something to clear away behind it.
    await setTimeout(25);
  }
  return times;
}
