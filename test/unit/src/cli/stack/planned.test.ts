/**
 * What the managers answer when they are asked for a plan.
 */
import { deepEqual } from "node:assert/strict";
import type { StackRun } from "../../../../../src/cli/stack/io.ts";
import { askManagers } from "../../../../../src/cli/stack/planned.ts";
import type { StackSpecs } from "../../../../../src/stack/translate/stack.ts";

const specs = {
  ...{ stack: "st", services: [], networks: [], secrets: [], configs: [], warnings: [] },
} as unknown as StackSpecs;
const present = { services: [], networks: [], secrets: [], configs: [] };

describe("src/cli/stack/planned", () => {
  it("takes a daemon that says nothing of conflicts for one that knows of none", async () => {
    const answer = { Index: 1, Refused: [], Services: [{ Name: "web" }] };
    const client = { call: async () => answer, byName: async () => new Map() };
    const run = { client, options: {} } as unknown as StackRun;
    const { plan } = await askManagers(run, specs, { present, sent: [], silent: new Map() });
    deepEqual(
      plan.Services.map(({ Name, Conflicts }) => [Name, Conflicts]),
      [["web", []]],
    );
  });
});
