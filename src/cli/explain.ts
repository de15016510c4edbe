/**
 * `skep explain service|task|port NAME`: where traffic goes, and what is in its way.
 */
import { parseArgs } from "node:util";
import { errorText } from "../common/errors/cluster-error.ts";
import { defaultHost, get, messageOf } from "./api.ts";
import { type Explanation, explanationText } from "./explain-text.ts";
import type { CommandIo } from "./io.ts";

const usage = `Usage: skep explain [flags] service NAME
       skep explain [flags] task NAME
       skep explain [flags] port NUMBER[/tcp|/udp|/sctp]

Says where the traffic of a service goes, from its name to its tasks, what the kernel of each node has against the plan, and
whether probes arrive, from both ends. The first line is the verdict. Ask any manager; nothing is changed.

Flags:
  -H, --host HOST   Daemon to ask (DOCKER_HOST, else ${defaultHost})
      --json        Print everything that was found, as JSON

Exit code: 0 no fault was found, 1 a fault was found, 2 it could not be found out.
`;

const kinds = ["service", "task", "port"];

/** Runs the command; resolves with its exit code. Never rejects. */
export async function runExplain(argv: readonly string[], io: CommandIo): Promise<number> {
  const { environment, out, fail } = io;
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        host: { type: "string", short: "H" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    const [kind = "", name = "", ...rest] = positionals;
    if (values.help === true) {
      out(usage);
      return 0;
    }
    if (!kinds.includes(kind) || name === "" || rest.length > 0) {
      fail(usage);
      return 2;
    }
    const host = values.host ?? (environment["DOCKER_HOST"] || defaultHost);
    const path = `/skep/explain/${kind}/${encodeURIComponent(name)}`;
    const { status, text } = await get(host, path, environment);
    if (status !== 200) {
      fail(`Error response from daemon: ${messageOf(text)}\n`);
      return 2;
    }
    const explanation = JSON.parse(text) as Explanation;
    out(
      values.json === true
        ? `${JSON.stringify(explanation, null, 2)}\n`
        : explanationText(explanation),
    );
    return explanation.Faults > 0 ? 1 : 0;
  } catch (error) {
    fail(`skep explain: ${errorText(error)}\n`);
    return 2;
  }
}
