/**
 * Events of networks of the swarm on one node.
 */
import { deepEqual } from "node:assert/strict";
import { emptyClusterState } from "../../../../agent/network/cluster-state.ts";
import { SwarmMembers } from "../../../../agent/network/swarm-members.ts";
import { Annotations, Network, NetworkSpec } from "../../../../src/common/api/generated/api.ts";

describe("agent/network/swarm-members", () => {
  let told: string[];
  let members: SwarmMembers;
  let cluster = emptyClusterState;

  beforeEach(() => {
    told = [];
    const named = (id: string, name: string) =>
      Network.create({
        id,
        spec: NetworkSpec.create({ annotations: Annotations.create({ name }) }),
      });
    cluster = {
      ...emptyClusterState,
      networks: new Map([
        ["n", named("n", "front")],
        ["m", named("m", "back")],
      ]),
    };
    members = new SwarmMembers({
      cluster: () => cluster,
      tell: (action, { name, driver }, { container = "" }) =>
        told.push(`${action} ${name} ${driver} ${container}`.trim()),
    });
  });

  it("tells of a network with its first container, and with its last", () => {
    members.set("a", ["n"]);
    members.set("b", ["n", "m"]);
    members.set("b", ["n", "m"]);
    members.set("a", []);
    members.set("b", ["m"]);
    deepEqual(told, [
      "create front overlay",
      "connect front overlay a",
      "connect front overlay b",
      "create back overlay",
      "connect back overlay b",
      "disconnect front overlay a",
      "disconnect front overlay b",
      "destroy front overlay",
    ]);
  });

  it("knows a network that the managers have removed by its name", () => {
    members.set("a", ["n"]);
    cluster = emptyClusterState;
    members.set("a", []);
    deepEqual(told.slice(2), ["disconnect front overlay a", "destroy front overlay"]);
  });

  it("says nothing of containers that ran before the daemon did, but that they go", () => {
    members.adopt({ id: "a", overlays: [{ networkId: "n" }] } as never);
    deepEqual(told, []);
    members.set("a", ["n"]);
    members.set("a", []);
    deepEqual(told, ["disconnect front overlay a", "destroy front overlay"]);
  });
});
