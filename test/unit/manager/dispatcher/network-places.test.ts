/**
 * Which nodes have to know each other.
 */
import { deepEqual, equal } from "node:assert/strict";
import { NetworkPlaces } from "../../../../manager/dispatcher/network-places.ts";

describe("manager/dispatcher/network-places", () => {
  const meshId = "mesh";

  /** Places of `NODE: NETWORK…`, one word for each endpoint. */
  function placesOf(text: string): NetworkPlaces {
    const places = new NetworkPlaces();
    for (const line of text.split(";")) {
      const [node = "", networks = ""] = line.split(":");
      for (const id of networks.trim().split(" ")) places.enter(node.trim(), id);
    }
    return places;
  }

  /** Pairs of nodes of which the first needs the second, itself left out. */
  function needs(text: string, nodes = ["n1", "n2", "n3"], mesh = meshId): string {
    const places = placesOf(text);
    const pairs = nodes.flatMap((nodeId) => {
      const networks = new Set([...places.networksOf(nodeId), mesh]);
      return nodes
        .filter(
          (other) => other !== nodeId && places.needs(nodeId, other, { networks, meshId: mesh }),
        )
        .map((other) => `${nodeId}-${other}`);
    });
    return pairs.join(" ");
  }

  for (const [fact, text, pairs] of [
    ["nobody where nobody meets", "n1: a; n2: b", ""],
    ["those in the same network, on both sides", "n1: a; n2: a b; n3: c", "n1-n2 n2-n1"],
    ["not those beyond a node in two networks", "n1: a; n2: a b; n3: b", "n1-n2 n2-n1 n2-n3 n3-n2"],
    [
      "everybody where tasks are published, and these everywhere",
      "n1: mesh",
      "n1-n2 n1-n3 n2-n1 n3-n1",
    ],
    ["nobody without published tasks", "n1: a a; n2: b b", ""],
  ] as const) {
    it(`lets nodes know ${fact}`, () => {
      equal(needs(text), pairs);
    });
  }

  it("lets a node always know itself", () => {
    equal(placesOf("").needs("n1", "n1", { networks: new Set(), meshId: "" }), true);
  });

  it("knows no mesh where there is none", () => {
    equal(needs("n1: mesh; n2: a", ["n1", "n2"], ""), "");
  });

  it("counts endpoints: the first makes a node take part, the last ends it", () => {
    const places = new NetworkPlaces();
    const seen = [
      places.enter("n1", "a"),
      places.enter("n1", "a"),
      places.leave("n1", "a"),
      places.has("n1", "a"),
      places.leave("n1", "a"),
      places.has("n1", "a"),
      places.leave("n1", "a"),
    ];
    deepEqual(seen, [true, false, false, true, true, false, false]);
    deepEqual([[...places.networksOf("n1")], [...places.nodesOf("a")]], [[], []]);
  });
});
