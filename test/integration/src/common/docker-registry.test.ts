/**
 * The registry client against Debian's docker-registry: plain and with TLS under a private authority, open and with a
 * password; test images pushed and resolved.
 */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../src/common/clock/clock.ts";
import { platformText } from "../../../../src/common/platform/match.ts";
import { parseReference } from "../../../../src/common/registry/reference.ts";
import { Registry } from "../../../../src/common/registry/registry.ts";
import { registryUser, startRegistry, type TestRegistry } from "../../../support/registry.ts";

const signal = new AbortController().signal;
const auth = {
  ...{ username: registryUser.name, password: registryUser.password },
  ...{ identityToken: "", registryToken: "", serverAddress: "" },
};

describe("common/registry with docker-registry", () => {
  let plain: TestRegistry;
  let secure: TestRegistry;
  let digests: Record<string, string>;
  let folder: string;
  let client: Registry;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-trust-"));
    [plain, secure] = await Promise.all([
      startRegistry(),
      startRegistry({ host: "::1", tls: true, password: true }),
    ]);
    writeFileSync(join(folder, "system.crt"), secure.authority);
    digests = await plain.pushTestImages();
    client = clientWith(folder);
  });

  after(async () => {
    client.close();
    await Promise.all([plain?.stop(), secure?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  it("pushes an index whose platforms come back with their variants", async () => {
    const resolved = await client.resolve(`${plain.address}/busybox:1`, {
      auth: undefined,
      signal,
    });
    equal(resolved.digest, digests["busybox:1"]);
    deepEqual(resolved.platforms.map(platformText), [
      "linux/amd64/v1",
      "linux/arm64/v8",
      "linux/arm/v7",
    ]);
    const single = await client.resolve(`${plain.address}/busybox:armv7`, {
      auth: undefined,
      signal,
    });
    equal(single.digest, digests["busybox:armv7"]);
    deepEqual(single.platforms.map(platformText), ["linux/arm/v7"]);
  });

  it("pushes with a password over TLS, and the same content has the same digests", async () => {
    deepEqual(await secure.pushTestImages("team"), digests);
    const name = `${secure.address}/team/busybox:1`;
    equal((await client.resolve(name, { auth, signal })).digest, digests["busybox:1"]);
  });

  it("mounts what another repository of the registry has", async () => {
    const layer = await client.use(
      parseReference(`${plain.address}/busybox:amd64`),
      { auth: undefined, access: "pull", signal },
      async (repository) => {
        const { body } = await repository.manifest();
        return JSON.parse(Buffer.from(body).toString("utf8")).layers[0];
      },
    );
    const upload = {
      ...{ digest: layer.digest, sizeBytes: layer.size, mountFrom: "busybox" },
      content: () => {
        throw new Error("was not to be sent");
      },
    };
    const bring = () =>
      client.use(
        parseReference(`${plain.address}/other:1`),
        { auth: undefined, access: "pull,push", signal },
        (repository) => repository.upload(upload),
      );
    equal(await bring(), "mounted");
    equal(await bring(), "present");
  });

  it("says who may not", async () => {
    const name = `${secure.address}/team/busybox:1`;
    await rejects(client.resolve(name, { auth: undefined, signal }), {
      message: "no basic auth credentials",
    });
    await rejects(client.resolve(name, { auth: { ...auth, password: "x" }, signal }), {
      code: "unauthenticated",
      message: /unauthorized: authentication required/,
    });
    await rejects(client.login(secure.address, { ...auth, password: "x" }, signal), {
      code: "unauthenticated",
    });
    equal(await client.login(secure.address, auth, signal), "");
  });
});

describe("common/registry/trust", () => {
  let secure: TestRegistry;
  let folder: string;
  let client: Registry;

  before(async () => {
    secure = await startRegistry({ host: "::1", tls: true });
  });
  after(() => secure?.stop());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-trust-"));
    client = clientWith(folder);
  });
  afterEach(() => {
    client.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it("trusts nobody unknown, and an authority from the moment it is put there", async () => {
    await rejects(resolve(), {
      code: "failed-precondition",
      message:
        /x509: certificate signed by unknown authority \(put .*certs\.d\/\[::1\]:\d+\/ca\.crt/,
    });
    const own = join(folder, "certs.d", secure.address);
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, "ca.crt"), secure.authority);
    await rejects(resolve(), { code: "not-found" });
    renameSync(join(own, "ca.crt"), join(own, "ca.gone"));
    await rejects(resolve(), { message: /unknown authority/ });
    writeFileSync(join(folder, "system.crt"), secure.authority);
    await rejects(resolve(), { code: "not-found" });
  });

  it("names files that cannot be used", async () => {
    const own = join(folder, "certs.d", secure.address);
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, "client.cert"), "x");
    await rejects(resolve(), {
      message: /^missing key client.key for client certificate .*\.crt$/,
    });
    rmSync(join(own, "client.cert"));
    writeFileSync(
      join(own, "ca.crt"),
      "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
    );
    const error = (await resolve().catch((e: unknown) => e)) as Error;
    match(error.message, /^cannot use the certificate in .*ca\.crt/);
  });

  async function resolve(): Promise<unknown> {
    return await client.resolve(`${secure.address}/none:1`, { auth: undefined, signal });
  }
});

/** Trusts nothing but what is in the folder, and loopback only as daemons do where there is no TLS. */
function clientWith(folder: string): Registry {
  return new Registry({
    settings: { insecure: ["127.0.0.0/8"], mirrors: [] },
    trust: { systemFiles: [join(folder, "system.crt")], certsFolders: [join(folder, "certs.d")] },
    environment: {},
    clock: systemClock,
  });
}
