/**
 * Which containers share a table, and that tables follow the state.
 */
import { strict as assert } from "node:assert";
import {
  type ClusterState,
  emptyClusterState,
} from "../../../../../agent/network/cluster-state.ts";
import { indexState } from "../../../../../agent/network/nft/from-state.ts";
import { tableChange } from "../../../../../agent/network/nft/table.ts";
import { TaskTables } from "../../../../../agent/network/nft/task-tables.ts";
import {
  NetworkAttachment,
  NetworkEndpoint,
  NetworkService,
  VirtualIp,
} from "../../../../../src/common/api/generated/api.ts";

const dns = { address: "172.18.0.1", port: 53 };

describe("agent/network/nft/task-tables.ts", () => {
  it("gives containers in the same networks the same table, in whatever order they are in them", () => {
    const tables = new TaskTables();
    const index = indexState(state("10.0.1.12"));
    const one = tables.tableFor(index, { networkIds: ["a", "b"], dns });
    assert.equal(tables.tableFor(index, { networkIds: ["b", "a"], dns }), one);
    assert.notEqual(tables.tableFor(index, { networkIds: ["a"], dns }), one);
    assert.notEqual(tables.tableFor(index, { networkIds: ["a", "b"], dns: undefined }), one);
  });

  it("follows the state, by the ready tasks of each network's services", () => {
    const tables = new TaskTables();
    const asked = { networkIds: ["a"], dns: undefined };
    const before = tables.tableFor(indexState(state("10.0.1.12")), asked);
    const after = tables.tableFor(indexState(state("10.0.1.12", "10.0.1.13")), asked);
    assert.match(
      tableChange(before, after),
      /^add element inet skep slots { 10\.0\.1\.2 \. 1 : 10\.0\.1\.13 }$/m,
    );
    const none = tables.tableFor(indexState(state()), asked);
    assert.deepEqual([...(none.sets.get("dead")?.elements.keys() ?? [])], ["10.0.1.2"]);
  });

  it("leaves out services of other networks", () => {
    const table = new TaskTables().tableFor(indexState(state("10.0.1.12")), {
      networkIds: ["b"],
      dns: undefined,
    });
    assert.equal(table.sets.get("vips")?.elements.size, 0);
    assert.equal(table.sets.get("dead")?.elements.size, 0);
  });
});

/** A service in the network `a` with these ready tasks, and one that is not ready. */
function state(...ready: string[]): ClusterState {
  const endpoint = (address: string, isReady: boolean) =>
    NetworkEndpoint.create({
      id: address,
      serviceId: "s",
      ready: isReady,
      networks: [NetworkAttachment.create({ networkId: "a", addresses: [`${address}/24`] })],
    });
  const service = NetworkService.create({
    id: "s",
    virtualIps: [VirtualIp.create({ networkId: "a", address: "10.0.1.2/24" })],
  });
  const endpoints = [...ready.map((one) => endpoint(one, true)), endpoint("10.0.1.99", false)];
  return {
    ...emptyClusterState,
    services: new Map([["s", service]]),
    endpoints: new Map(endpoints.map((one) => [one.id, one])),
  };
}
