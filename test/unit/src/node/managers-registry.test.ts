/**
 * Where managers ask for images, with and without Docker's switch.
 */
import assert from "node:assert/strict";
import { hasCode } from "../../../../src/common/errors/cluster-error.ts";
import { managersRegistry, prefersOffline } from "../../../../src/node/managers-registry.ts";

describe("src/node/managers-registry", () => {
  const asked: string[] = [];
  const registry = {
    resolve: async (reference: string) => {
      asked.push(reference);
      return { digest: "sha256:1", mediaType: "", sizeBytes: 0, platforms: [], manifests: [] };
    },
  };
  const options = { auth: undefined, signal: new AbortController().signal };

  it("asks the registries", async () => {
    const { digest } = await managersRegistry(registry, false).resolve("web:1", options);
    assert.equal(digest, "sha256:1");
    assert.deepEqual(asked, ["web:1"]);
  });

  it("refuses at once, and asks nobody, where images on the nodes are preferred", async () => {
    const none = managersRegistry(registry, prefersOffline({ [variable]: "1" }));
    await assert.rejects(none.resolve("web:2", options), (error) => {
      return hasCode(error, "failed-precondition") && String(error).includes(variable);
    });
    assert.ok(!asked.includes("web:2"));
    assert.equal(prefersOffline({ [variable]: "0" }), false);
    assert.equal(prefersOffline({}), false);
  });
});

const variable = "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE";
