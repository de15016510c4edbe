/**
 * The registry client against a registry that answers as told: authentication, redirects, cut and false content.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import type { RegistryAuth } from "../../../../src/common/container/images.ts";
import { mediaTypes } from "../../../../src/common/registry/manifest.ts";
import { parseReference } from "../../../../src/common/registry/reference.ts";
import { Registry } from "../../../../src/common/registry/registry.ts";
import type { Repository } from "../../../../src/common/registry/repository.ts";
import { loopbackRanges } from "../../../../src/common/registry/settings.ts";
import { FakeRegistry, fakeUser } from "../../../support/fake-registry.ts";

const signal = new AbortController().signal;
const noAuth = { username: "", identityToken: "", registryToken: "", serverAddress: "" };
const byPassword: RegistryAuth = {
  ...{ ...noAuth, username: fakeUser.name },
  password: fakeUser.password,
};

describe("common/registry", () => {
  let fake: FakeRegistry;
  let registry: Registry;
  let index: string;
  let layer: string;
  const content = Buffer.alloc(300_000, "honey");

  beforeEach(async () => {
    fake = await FakeRegistry.start();
    registry = new Registry({
      settings: { insecure: loopbackRanges, mirrors: [] },
      trust: { systemFiles: [], certsFolders: [] },
      environment: {},
      clock: systemClock,
    });
    layer = fake.put(content);
    const image = (architecture: string, variant?: string) => {
      const config = JSON.stringify({ architecture, os: "linux", variant });
      const body = JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: {
          mediaType: mediaTypes.ociConfig,
          digest: fake.put(config),
          size: config.length,
        },
        layers: [{ mediaType: mediaTypes.ociLayer, digest: layer, size: content.length }],
      });
      const digest = fake.put(body, mediaTypes.ociManifest);
      const platform = { os: "linux", architecture, variant };
      return { mediaType: mediaTypes.ociManifest, digest, size: body.length, platform };
    };
    const arm = image("arm", "v6");
    index = fake.put(
      { schemaVersion: 2, manifests: [image("amd64"), arm, image("arm64")] },
      mediaTypes.ociIndex,
    );
    fake.name("1", index);
    fake.name("arm", arm.digest);
  });

  afterEach(async () => {
    registry.close();
    await fake.stop();
  });

  const resolve = (tag: string, auth?: RegistryAuth) =>
    registry.resolve(`${fake.host}/app${tag}`, { auth, signal });
  const pulling = <T>(work: (repository: Repository) => Promise<T>, auth?: RegistryAuth) =>
    registry.use(parseReference(`${fake.host}/app:1`), { auth, access: "pull", signal }, work);
  const read = async (chunks: AsyncIterable<Uint8Array>) => {
    const pieces: Uint8Array[] = [];
    for await (const piece of chunks) pieces.push(piece);
    return Buffer.concat(pieces);
  };

  it("resolves a tag to its index with every platform and variant", async () => {
    const resolved = await resolve(":1");
    equal(resolved.digest, index);
    equal(resolved.mediaType, mediaTypes.ociIndex);
    deepEqual(
      resolved.platforms.map(({ os, architecture, variant }) =>
        [os, architecture, variant].join("/"),
      ),
      ["linux/amd64/v1", "linux/arm/v6", "linux/arm64/v8"],
    );
    equal((await resolve(`@${index}`)).digest, index);
  });

  it("resolves a single image by its configuration", async () => {
    const resolved = await resolve(":arm");
    deepEqual(
      resolved.platforms.map(({ architecture, variant }) => [architecture, variant]),
      [["arm", "v6"]],
    );
  });

  it("shows the password to a registry that asks for it, and says when there is none", async () => {
    fake.behaviour.auth = "basic";
    equal((await resolve(":1", byPassword)).digest, index);
    await rejects(resolve(":1"), { code: "unauthenticated", message: "no basic auth credentials" });
    await rejects(resolve(":1", { ...byPassword, password: "wax" }), {
      code: "unauthenticated",
      message:
        /^pull access denied for .*\/app, repository does not exist or may require 'docker login': unauthorized/,
    });
  });

  it("gets one token per scope, and a new one when it is refused", async () => {
    fake.behaviour.auth = "bearer";
    equal((await resolve(":1", byPassword)).digest, index);
    equal((await resolve(":1", byPassword)).digest, index);
    const [first, ...others] = fake.requests("/token");
    deepEqual(others, []);
    const query = new URL(first?.path ?? "", "http://x").searchParams;
    equal(query.get("service"), "hive, inner");
    equal(query.get("scope"), "repository:app:pull");
    equal(query.get("account"), fakeUser.name);
    fake.dropTokens();
    equal((await resolve(":1", byPassword)).digest, index);
    equal(fake.requests("/token").length, 2);
    equal((await resolve(":1")).digest, index, "without credentials the token is anonymous");
    await rejects(resolve(":1", { ...byPassword, password: "wax" }), { code: "unauthenticated" });
  });

  it("exchanges an identity token", async () => {
    fake.behaviour.auth = "bearer";
    const auth = { ...noAuth, password: "", identityToken: fakeUser.identityToken };
    equal((await resolve(":1", auth)).digest, index);
    const [asked] = fake.requests("/token");
    equal(asked?.method, "POST");
    equal(asked?.authorization, "");
    equal(new URLSearchParams(asked?.body).get("grant_type"), "refresh_token");
  });

  it("logs in, with an identity token where the service gives one", async () => {
    fake.behaviour.auth = "bearer";
    equal(await registry.login(fake.host, byPassword, signal), fakeUser.identityToken);
    await rejects(registry.login(fake.host, { ...byPassword, password: "wax" }, signal), {
      code: "unauthenticated",
    });
    fake.behaviour.auth = "basic";
    equal(await registry.login(fake.host, byPassword, signal), "");
    await rejects(registry.login(fake.host, { ...byPassword, password: "wax" }, signal), {
      code: "unauthenticated",
      message: /^login attempt to http.*failed: unauthorized/,
    });
  });

  it("follows blobs to another host without the credentials", async () => {
    const other = await FakeRegistry.start();
    try {
      other.put(content);
      fake.behaviour.auth = "basic";
      fake.behaviour.redirectBlobsTo = other.host;
      const got = await pulling(
        async (repository) => await read((await repository.blob(layer, 100)).chunks),
        byPassword,
      );
      ok(got.equals(content.subarray(100)));
      const [seen] = other.seen;
      equal(seen?.authorization, "");
      equal(seen?.range, "bytes=100-");
      ok(fake.requests(layer)[0]?.authorization !== "");
    } finally {
      await other.stop();
    }
  });

  it("goes on within a blob, and begins anew where ranges are not known", async () => {
    const from = (offset: number) =>
      pulling(async (repository) => {
        const blob = await repository.blob(layer, offset);
        return { at: blob.offsetBytes, data: await read(blob.chunks) };
      });
    const rest = await from(123_456);
    equal(rest.at, 123_456);
    ok(rest.data.equals(content.subarray(123_456)));
    fake.behaviour.ignoresRanges = true;
    const whole = await from(123_456);
    equal(whole.at, 0);
    ok(whole.data.equals(content));
  });

  it("notices that a blob was cut", async () => {
    fake.behaviour.cuts.push(1_000);
    await rejects(
      pulling(async (repository) => await read((await repository.blob(layer, 0)).chunks)),
      { code: "unavailable", message: /^Get ".*\/blobs\/sha256:.*": unexpected EOF$/ },
    );
  });

  it("believes no content that is not what it was asked for", async () => {
    fake.name(layer, fake.put("something else"));
    await rejects(
      pulling((repository) => repository.smallBlob(layer)),
      { code: "failed-precondition", message: /sent wrong content .* asked for sha256:/ },
    );
    const lie = `sha256:${"0".repeat(64)}`;
    fake.behaviour.claimedDigest = lie;
    await rejects(resolve(":1"), { message: new RegExp(`asked for ${lie}`) });
    fake.name(lie, index);
    await rejects(resolve(`@${lie}`), { code: "failed-precondition" });
  });

  it("says what is not there, and which registry does not answer", async () => {
    await rejects(resolve(":none"), {
      code: "not-found",
      message: `manifest for ${fake.host}/app:none not found: manifest unknown: manifest_unknown here`,
    });
    fake.behaviour.status = 503;
    await rejects(resolve(":1"), { code: "unavailable" });
    const { host } = fake;
    await fake.stop();
    const error = await resolve(":1").catch((e: unknown) => e as Error);
    match(
      (error as Error).message,
      new RegExp(`^Get "https://${host}/v2/": dial tcp ${host}: connect: connection refused$`),
    );
    fake = await FakeRegistry.start();
  });

  it("stops when it is told to", async () => {
    const stop = new AbortController();
    fake.behaviour.gate = new Promise(() => {});
    const reading = registry.use(
      parseReference(`${fake.host}/app:1`),
      { auth: undefined, access: "pull", signal: stop.signal },
      (repository) => {
        setImmediate(() => stop.abort(new Error("enough")));
        return repository.smallBlob(layer);
      },
    );
    await rejects(reading, { message: "enough" });
  });

  it("goes through the proxy of the environment, by CONNECT for TLS", async () => {
    const seen: string[] = [];
    const proxy = createServer((message, response) => {
      seen.push(`${message.method} ${message.url} ${message.headers["proxy-authorization"]}`);
      const url = new URL(message.url ?? "");
      const [host, port] = fake.host.split(":");
      const { headers } = message;
      const passed = { host, port, path: url.pathname, headers };
      message.pipe(
        request(passed, (answer) => {
          response.writeHead(answer.statusCode ?? 0, answer.headers);
          answer.pipe(response);
        }),
      );
    });
    proxy.on("connect", (message, socket) => {
      seen.push(`CONNECT ${message.url}`);
      const [host = "", port] = fake.host.split(":");
      const far = connect(Number(port), host, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        far.pipe(socket).pipe(far);
      });
      far.on("error", () => socket.destroy());
      socket.on("error", () => far.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const { port } = proxy.address() as AddressInfo;
    const address = `http://u:p@127.0.0.1:${port}`;
    const client = new Registry({
      settings: { insecure: ["hub.invalid:5000"], mirrors: [] },
      trust: { systemFiles: [], certsFolders: [] },
      environment: { HTTP_PROXY: address, https_proxy: address },
      clock: systemClock,
    });
    try {
      const name = "hub.invalid:5000/app:1";
      equal((await client.resolve(name, { auth: undefined, signal })).digest, index);
      deepEqual(seen.slice(0, 2), [
        "CONNECT hub.invalid:5000",
        `GET http://hub.invalid:5000/v2/ Basic ${Buffer.from("u:p").toString("base64")}`,
      ]);
    } finally {
      client.close();
      proxy.closeAllConnections();
      proxy.close();
    }
  });
});
