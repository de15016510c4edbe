/**
 * Docker's own swarm mode in a playground, to be compared with in alternating rounds: Debian's engine 20.10 from
 * `build/tools`, each node with a containerd of its own. Tasks without networks get a place in `bridge`, as they do with
 * ours; packet filters are switched off.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { formSwarm } from "../src/playground/engine-client.ts";
import { Playground } from "../src/playground/playground.ts";

const engine = "build/tools/docker-20.10/dockerd";

/** Options of the engine. The playground knows a daemon by the word `daemon`, so the socket gets the group of that name. */
const options = ["--group", "daemon", "--iptables=false", "--ip-forward=false"];

/**
 * A swarm of managers on nodes of these names, formed and running; undefined where the engine is not unpacked.
 *
 * @param folder Empty folder for it; the caller ends it with `down` and removes the folder.
 * @param more Further options of the engine.
 */
export async function startDockerSwarm(
  folder: string,
  nodes: readonly string[],
  more: readonly string[] = [],
): Promise<Playground | undefined> {
  if (!existsSync(engine)) {
    process.stderr.write(`${engine} is not there (scripts/setup), no comparison with Docker\n`);
    return undefined;
  }
  const all = [join(process.cwd(), engine), ...options, ...more];
  const words = all.map((word) => `'${word}'`).join(" ");
  // The playground's first word for a daemon is a command of ours that Docker's engine does not have.
  const program = ["sh", "-c", `shift; exec ${words} "$@"`, "sh"];
  // There is no registry to be asked for images.
  const env = { DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: "1" };
  const lab = Playground.create({ dir: folder, nodes, program, env });
  try {
    await lab.up();
    await formSwarm(lab.nodes().map((node) => ({ ...node, role: "manager" as const })));
    return lab;
  } catch (error) {
    await lab.down();
    throw error;
  }
}
