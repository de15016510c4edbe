/**
 * What `skep service` prints, and how it ends.
 */
import { equal, match } from "node:assert/strict";
import { type HistoryRow, historyText, runService } from "../../../../src/cli/service.ts";

const row = (Revision: number, more: Partial<HistoryRow> = {}): HistoryRow => ({
  Revision,
  CreatedAt: "2026-11-21T20:00:00.123Z",
  Cause: "updated",
  Current: false,
  Secrets: [],
  Configs: [],
  Spec: {
    Mode: { Replicated: { Replicas: 2 } },
    TaskTemplate: { ContainerSpec: { Image: `web:${Revision}@sha256:${"a".repeat(64)}` } },
  },
  ...more,
});

async function run(...argv: readonly string[]): Promise<string> {
  let text = "";
  const say = (more: string) => {
    text += more;
  };
  const code = await runService(argv, { environment: {}, out: say, fail: say });
  return `${code} ${text}`;
}

describe("src/cli/service", () => {
  it("says where a service stays with an earlier revision", () => {
    const Configs = [{ Name: "page", Revision: 1, Newest: 2 }];
    match(historyText([row(3, { Current: true, Configs })]), / config page 1 of 2 /);
  });

  it("lists a history with what each spec ran with", () => {
    const present = row(12, { Current: true, Configs: [{ Name: "page", Revision: 2 }] });
    const first = row(1, { Cause: "created", Spec: { Mode: {} } });
    equal(
      historyText([present, first]),
      [
        "REVISION   SINCE                  IMAGE    REPLICAS   SECRETS AND CONFIGS   CAUSE",
        "12 *       2026-11-21T20:00:00Z   web:12   2          config page 2         updated",
        "1          2026-11-21T20:00:00Z            -          -                     created",
        "",
      ].join("\n"),
    );
  });

  it("says how it is used, and what is wrong with a number", async () => {
    match(await run("--help"), /^0 Usage: skep service history/);
    for (const words of [[], ["history"], ["history", "a", "b"], ["history", "--to", "1", "a"]])
      match(await run(...words), /^2 Usage:/);
    match(await run("rollback", "--to", "x", "web"), /^1 skep service: --to x: give the number/);
  });
});
