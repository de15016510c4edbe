/**
 * Holds docs/labels.md to the labels that managers know.
 */
import { deepEqual } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { knownLabels } from "../../../manager/control/data-path-labels.ts";

const page = readFileSync(join(process.cwd(), "docs/labels.md"), "utf8");
const [, ofServices = "", ofContainers = "", ofNodes = ""] = page.split("\n## ");

describe("docs/labels.md", () => {
  const cases = [
    { kind: "services", part: ofServices },
    { kind: "containers", part: ofContainers },
    { kind: "nodes", part: ofNodes },
  ] as const;
  for (const { kind, part } of cases)
    it(`has every label of ${kind}, once`, () => {
      const named = [...part.matchAll(/^\| `(skep\.[^`]+)`/gm)].map(([, label]) => label);
      deepEqual(named.sort(), [...knownLabels[kind]].sort());
    });
});
