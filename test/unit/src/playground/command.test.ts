/**
 * Words of the playground's command line.
 */
import { rejects } from "node:assert/strict";
import { runPlayground } from "../../../../src/playground/command.ts";

describe("src/playground/command", () => {
  const nowhere = "/nonexistent/skep-playground";
  for (const words of [
    ["--dir", nowhere, "exec", "m1", "ls", "--dir", "/tmp"],
    ["exec", "--dir", nowhere, "m1", "ls", "--dir", "/tmp"],
    ["exec", `--dir=${nowhere}`, "--name", "other", "m1", "ls"],
  ])
    it(`knows its own flags from those of the command: ${words.join(" ")}`, async () => {
      await rejects(runPlayground(words), new RegExp(`there is no playground in ${nowhere}`));
    });
});
