/** How the end of a container is told: Docker's words, and more where they do not say why. */
import { equal } from "node:assert/strict";
import type { TaskExit } from "../../../../agent/exec/controller.ts";
import { exitText } from "../../../../agent/exec/errors.ts";

interface Row {
  readonly it: string;
  readonly exit: Partial<TaskExit>;
  readonly text: string;
}

const rows: readonly Row[] = [
  { it: "says nothing of one that ended well", exit: {}, text: "" },
  {
    it: "says the code of one that did not",
    exit: { exitCode: 3 },
    text: "task: non-zero exit (3)",
  },
  {
    it: "says why where that is known",
    exit: { error: "dockerexec: unhealthy container" },
    text: "task: non-zero exit (0): dockerexec: unhealthy container",
  },
  {
    it: "says code and reason of one that went down with its node",
    exit: { lost: true, exitCode: 255, error: "the node went down" },
    text: "task: non-zero exit (255): the node went down",
  },
  {
    it: "says no code where there is no container any more",
    exit: { lost: true, error: "the container is gone" },
    text: "the container is gone",
  },
];

describe("agent/exec/errors", () => {
  for (const row of rows) {
    it(row.it, () => {
      const exit = { exitCode: 0, error: "", finishedAtMs: 0, lost: false, ...row.exit };
      equal(exitText(exit), row.text);
    });
  }
});
