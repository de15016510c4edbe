/**
 * What this node remembers of the cluster's data path, read before anything of its membership starts: the agent does so only
 * once it runs, on a manager after Raft, on a locked one after a person came.
 */
import type { NetworkPort } from "../../agent/network/state.ts";
import { memoryStorage, openStorage } from "../../agent/storage.ts";
import { errorText } from "../common/errors/cluster-error.ts";
import type { Log } from "../common/log/log.ts";

/** Tasks of an earlier life of the daemon go on in their networks. Never rejects: the agent says what is wrong. */
export async function recallNetworks(
  nodeId: string,
  o: { readonly agentFolder: string; readonly network: NetworkPort; readonly log: Log },
): Promise<void> {
  const damaged = (error: unknown) =>
    o.log.warn("agent storage begun anew", { err: errorText(error) });
  const storage = await openStorage(o.agentFolder, damaged).catch(() => memoryStorage());
  await o.network.nodeIs(nodeId, storage.network);
  await o.network.rest();
  await storage.close();
}
