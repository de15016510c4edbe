/**
 * What of the kernel's answers makes the applier act: listings that differ, also after many that did not.
 */
import { strict as assert } from "node:assert";
import { RulesApplier } from "../../../../../agent/network/nft/applier.ts";
import type { LibraryJob } from "../../../../../agent/network/nft/library.ts";
import type { Table } from "../../../../../agent/network/nft/table.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";

const empty = new Map();

/** Two tables, of which the second leads to one backend less. */
const [one, two] = [["10.0.0.1", "10.0.0.2"], ["10.0.0.2"]].map(
  (backends): Table => ({
    family: "inet",
    name: "t",
    sets: empty,
    chains: new Map([["c", { hook: "", rules: backends.map((to) => `dnat to ${to}`) }]]),
    leadsTo: new Set(backends),
  }),
) as [Table, Table];

function listing(rules: number): string {
  const chain = { family: "inet", table: "t", name: "c", handle: 1 };
  const list = Array.from({ length: rules }, (_, handle) => ({
    rule: { family: "inet", table: "t", chain: "c", handle, expr: [] },
  }));
  return JSON.stringify({ nftables: [{ chain }, ...list] });
}

function applierOn(kernel: { listing: string }) {
  const jobs: LibraryJob[] = [];
  const applier = new RulesApplier({
    log: silentLog,
    nftables: {
      run: async (some: readonly LibraryJob[]) => {
        jobs.push(...some);
        return some.map(({ what }) => ({
          ok: true,
          output: what === "list" ? kernel.listing : "",
        }));
      },
      close: async () => {},
    } as unknown as ConstructorParameters<typeof RulesApplier>[0]["nftables"],
  });
  return { applier, jobs };
}

describe("agent/network/nft/applier.ts", () => {
  it("finds what others changed, however often it was in order before", async () => {
    const kernel = { listing: listing(2) };
    const { applier, jobs } = applierOn(kernel);
    await applier.apply("ns", one);
    assert.deepEqual(await applier.check(), []);
    assert.deepEqual(await applier.check(), []);
    kernel.listing = listing(1);
    assert.equal((await applier.check())[0]?.found, "chain c has 1 rules instead of 2");
    assert.match(jobs.at(-1)?.text ?? "", /^add table inet t/);
    assert.equal((await applier.check()).length, 1);
    kernel.listing = listing(2);
    assert.deepEqual(await applier.check(), []);
  });

  it("does not take the listing of one table for that of the next", async () => {
    const kernel = { listing: listing(2) };
    const { applier } = applierOn(kernel);
    await applier.apply("ns", one);
    assert.deepEqual(await applier.check(), []);
    await applier.apply("ns", two);
    assert.equal((await applier.check())[0]?.found, "chain c has 2 rules instead of 1");
  });

  it("removes once what is not wanted, and again in a namespace that was made anew", async () => {
    const { applier, jobs } = applierOn({ listing: "" });
    await applier.remove("ns", one);
    await applier.remove("ns", one);
    assert.equal(jobs.length, 1);
    applier.forget("ns");
    await applier.remove("ns", one);
    assert.equal(jobs.length, 2);
  });

  it("deletes the flows to backends that left, not to those that came back", async () => {
    const { applier, jobs } = applierOn({ listing: "" });
    await applier.apply("ns", one);
    await applier.apply("ns", two);
    // They go after all else that is wished for.
    await new Promise((resolve) => setImmediate(resolve));
    const flows = jobs.filter(({ what }) => what === "delete-flows");
    assert.deepEqual(
      flows.map(({ text }) => text),
      ["10.0.0.1"],
    );
  });
});
