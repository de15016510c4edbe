/**
 * How containers that are run by hand get into networks of the swarm, with a played manager.
 */
import { deepEqual, equal } from "node:assert/strict";
import { emptyContainerConfig } from "../../../../agent/exec/containerd/record.ts";
import { NetworkState } from "../../../../agent/network/state.ts";
import { SwarmJoins } from "../../../../agent/network/swarm-joins.ts";
import {
  Network,
  NetworkAttachment,
  NetworkEndpoint,
  NetworkUpdate,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import type { Container } from "../../../../src/common/container/types.ts";
import { networkWaitMs } from "../../../../src/common/limits/network.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { settled } from "../../../support/message-queue.ts";

const network = Network.create({ id: "n", networkNumber: 4097 });
const config = emptyContainerConfig;
const container = { id: "c", name: "by-hand", config } as unknown as Container;
const empty = { aliases: [], addresses: [], macAddress: "", driverOptions: {} };

describe("agent/network/swarm-joins", () => {
  let clock: FakeClock;
  let cluster: NetworkState;
  let joined: readonly string[] | undefined;

  beforeEach(() => {
    clock = new FakeClock();
    cluster = new NetworkState({ clock, log: silentLog });
    joined = undefined;
    take(1, { full: true, first: true, last: true });
  });

  function take(number: number, fields: Partial<NetworkUpdate>): void {
    equal(cluster.take(NetworkUpdate.create({ number, ...fields })), true);
  }

  /** Starts a container that is in one network; a manager answers at once. */
  async function join(): Promise<void> {
    const attachment = NetworkAttachment.create({ networkId: "n", addresses: ["10.0.1.9/24"] });
    const joins = new SwarmJoins({
      ...{ cluster, clock, log: silentLog },
      local: { swarmJoinsOf: () => [{ network: "net", ...empty }] },
      attachments: {
        attach: async () => ({ taskId: "t", network, attachment }),
        detach: async () => undefined,
        settled: async () => undefined,
      },
    });
    void joins.of(container, new AbortController().signal).then((found) => {
      joined = found.map((one) => one.join.addresses[0] ?? "");
    });
    await settled();
  }

  it("wait until the node was told what there is in the network", async () => {
    await join();
    take(2, { endpoints: [NetworkEndpoint.create({ id: "another" })] });
    await settled();
    equal(joined, undefined);
    take(3, { networks: [network], endpoints: [NetworkEndpoint.create({ id: "t" })] });
    await settled();
    deepEqual(joined, ["10.0.1.9/24"]);
  });

  it("wait no more when the node knows already", async () => {
    take(2, { networks: [network], endpoints: [NetworkEndpoint.create({ id: "t" })] });
    await join();
    deepEqual(joined, ["10.0.1.9/24"]);
  });

  it("go on without where no manager says anything", async () => {
    await join();
    await clock.advance(networkWaitMs - 1);
    equal(joined, undefined);
    await clock.advance(1);
    deepEqual(joined, ["10.0.1.9/24"]);
  });
});
