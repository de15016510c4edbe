/**
 * `GET /distribution/{name}/json` and `docker login` against registries.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { startEngine, type TestEngine } from "../../../support/engine.ts";
import { FakeRegistry, fakeUser } from "../../../support/fake-registry.ts";
import { registryUser, startRegistry, type TestRegistry } from "../../../support/registry.ts";

describe("src/engine/distribution", () => {
  let engine: TestEngine;
  let hub: TestRegistry;
  let digests: Record<string, string>;

  before(async () => {
    engine = await startEngine();
    hub = await startRegistry({ password: true });
    digests = await hub.pushTestImages("team");
  });
  after(async () => {
    await engine?.stop();
    await hub?.stop();
  });

  const { name: username, password } = registryUser;
  const header = (auth: object) => ({
    "x-registry-auth": Buffer.from(JSON.stringify(auth)).toString("base64url"),
  });

  it("tells digest and platforms, with the credentials of the request", async () => {
    const path = `/distribution/${hub.address}/team/busybox:1/json`;
    const answer = await engine.send("GET", path, { headers: header({ username, password }) });
    equal(answer.status, 200);
    equal(answer.at("Descriptor", "digest"), digests["busybox:1"]);
    equal(answer.at("Descriptor", "mediaType"), "application/vnd.oci.image.index.v1+json");
    deepEqual(answer.at("Platforms"), [
      { architecture: "amd64", os: "linux" },
      { architecture: "arm64", os: "linux", variant: "v8" },
      { architecture: "arm", os: "linux", variant: "v7" },
    ]);
  });

  it("waits for a silent registry as long as the caller says", async () => {
    const silent = createServer();
    await new Promise<void>((resolve) => {
      silent.listen(0, "127.0.0.1", resolve);
    });
    const { port } = silent.address() as AddressInfo;
    const ask = (timeout: string) =>
      engine.send("GET", `/distribution/127.0.0.1:${port}/app:1/json?timeout=${timeout}`);
    try {
      const late = await ask("1");
      equal(late.status, 503);
      equal(late.message, "the registry did not answer in time");
      equal((await ask("soon")).message, "invalid value for timeout: soon");
    } finally {
      silent.close();
    }
  });

  it("says why not, with the status of Docker", async () => {
    const ask = (name: string, auth: object) =>
      engine.send("GET", `/distribution/${name}/json`, { headers: header(auth) });
    const team = `${hub.address}/team`;
    for (const [name, auth, status, message] of [
      [`${team}/busybox:1`, {}, 401, /no basic auth credentials/],
      [
        `${team}/busybox:1`,
        { username, password: "x" },
        401,
        /pull access denied for .*unauthorized/,
      ],
      [`${team}/busybox:none`, { username, password }, 404, /manifest for .*:none not found/],
      ["127.0.0.1:1/app:1", {}, 503, /connection refused/],
      ["BAD:1", {}, 400, /must be lowercase/],
      ["a".repeat(64), {}, 400, /give its name/],
    ] as const) {
      const answer = await ask(name, auth);
      equal(answer.status, status, name);
      match(answer.message, message);
    }
  });

  it("logs in", async () => {
    const log = (body: object) => engine.send("POST", "/auth", { body });
    for (const serveraddress of [hub.address, `http://${hub.address}/`]) {
      const answer = await log({ username, password, serveraddress });
      equal(answer.status, 200);
      deepEqual(answer.json, { Status: "Login Succeeded", IdentityToken: "" });
    }
    const refused = await log({ username, password: "x", serveraddress: hub.address });
    equal(refused.status, 401);
    match(refused.message, /^login attempt to .* failed: unauthorized/);
    const wrong = await log({ username, password, serveraddress: "a b" });
    equal(wrong.status, 400);
  });

  it("hands on the identity token of a token service", async () => {
    const fake = await FakeRegistry.start();
    try {
      fake.behaviour.auth = "bearer";
      const answer = await engine.send("POST", "/auth", {
        body: { username: fakeUser.name, password: fakeUser.password, serveraddress: fake.host },
      });
      equal(answer.at("IdentityToken"), fakeUser.identityToken);
    } finally {
      await fake.stop();
    }
  });
});
