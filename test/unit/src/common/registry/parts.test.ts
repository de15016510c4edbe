/**
 * The pure parts of the registry client: challenges, proxies, addresses, manifests.
 */
import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { parseChallenges } from "../../../../../src/common/registry/auth.ts";
import {
  imagesOf,
  mediaTypes,
  parseManifest,
} from "../../../../../src/common/registry/manifest.ts";
import { proxyFor } from "../../../../../src/common/registry/proxy.ts";
import {
  checkInsecureRegistry,
  checkMirror,
  endpointsOf,
  isInsecure,
  loopbackRanges,
} from "../../../../../src/common/registry/settings.ts";

describe("common/registry/auth: challenges", () => {
  it("reads what registries answer", () => {
    const bearer = { scheme: "bearer", realm: "https://a/t", service: "r, s", scope: "x:y:z" };
    for (const [header, expected] of [
      ["", []],
      ["Negotiate", []],
      ["Basic", [{ scheme: "basic", realm: "", service: "", scope: "" }]],
      ['Basic realm="a \\"b\\""', [{ scheme: "basic", realm: 'a "b"', service: "", scope: "" }]],
      ['Bearer realm="https://a/t",service="r, s",scope="x:y:z"', [bearer]],
      ['bearer realm="https://a/t", service="r, s", scope="x:y:z", error="insufficient"', [bearer]],
      [
        'Bearer realm="https://a/t",service="r, s",scope="x:y:z", Basic realm=b',
        [bearer, { scheme: "basic", realm: "b", service: "", scope: "" }],
      ],
    ] as const) {
      deepEqual(parseChallenges(header), expected, header);
    }
  });
});

describe("common/registry/proxy", () => {
  it("follows the variables, except for this machine and what is exempt", () => {
    const both = { HTTPS_PROXY: "http://p:1", http_proxy: "q:2" };
    for (const [address, environment, expected] of [
      ["https://a.example/", {}, undefined],
      ["https://a.example/", both, "p:1"],
      ["http://a.example/", both, "q:2"],
      ["https://127.0.0.1:5000/", both, undefined],
      ["https://localhost/", both, undefined],
      ["https://[::1]:5000/", both, undefined],
      ["https://a.example/", { ...both, NO_PROXY: "*" }, undefined],
      ["https://a.example/", { ...both, no_proxy: "b, example" }, undefined],
      ["https://a.example/", { ...both, NO_PROXY: ".example" }, undefined],
      ["https://anexample/", { ...both, NO_PROXY: ".example" }, "p:1"],
      ["https://a.example:5000/", { ...both, NO_PROXY: "a.example:443" }, "p:1"],
      ["https://10.1.2.3/", { ...both, NO_PROXY: "10.0.0.0/8" }, undefined],
      ["https://11.1.2.3/", { ...both, NO_PROXY: "10.0.0.0/8" }, "p:1"],
    ] as const) {
      const proxy = proxyFor(new URL(address), environment);
      equal(proxy?.host, expected, `${address} ${JSON.stringify(environment)}`);
    }
    throws(() => proxyFor(new URL("https://a.example"), { HTTPS_PROXY: "socks5://x" }), {
      message: /^HTTPS_PROXY: give the address/,
    });
  });
});

describe("common/registry/settings", () => {
  it("takes loopback and what was named for insecure", async () => {
    const insecure = [...loopbackRanges, "10.1.0.0/16", "reg.invalid:5000", "other.invalid"];
    for (const [host, expected] of [
      ["127.0.0.1:5000", true],
      ["[::1]:5000", true],
      ["localhost:5000", true],
      ["10.1.2.3:5000", true],
      ["10.2.2.3:5000", false],
      ["reg.invalid:5000", true],
      ["reg.invalid:5001", false],
      ["other.invalid:7", true],
    ] as const) {
      equal(await isInsecure(host, { insecure, mirrors: [] }), expected, host);
    }
  });

  it("asks mirrors before Docker's registry only, and an insecure one with TLS first", async () => {
    const settings = { insecure: ["10.0.0.1:5000"], mirrors: ["http://10.0.0.9:5000/"] };
    const bases = async (domain: string) =>
      (await endpointsOf(domain, settings)).map(({ base, verify }) => `${base} ${verify}`);
    deepEqual(await bases("docker.io"), [
      "http://10.0.0.9:5000 false",
      "https://registry-1.docker.io true",
    ]);
    deepEqual(await bases("10.0.0.1:5000"), [
      "https://10.0.0.1:5000 false",
      "http://10.0.0.1:5000 false",
    ]);
    deepEqual(await bases("10.0.0.2:5000"), ["https://10.0.0.2:5000 true"]);
  });

  it("refuses flags that could never match, with the form", async () => {
    for (const good of ["h", "h:1", "10.0.0.0/8", "[::1]:5000", "fd00::/8"]) {
      equal(checkInsecureRegistry(good), good);
    }
    for (const bad of ["http://h", "h/x", "", "h:x", "10.0.0.0/99"]) {
      throws(
        () => checkInsecureRegistry(bad),
        { message: /^--insecure-registry .*host:port/ },
        bad,
      );
    }
    equal(checkMirror("https://m:5000/"), "https://m:5000");
    for (const bad of ["m:5000", "ftp://m", "https://u:p@m", "https://m?x"]) {
      throws(() => checkMirror(bad), { message: /^--registry-mirror .*https:\/\// }, bad);
    }
    await rejects(async () => checkMirror(""), { code: "invalid-argument" });
  });
});

describe("common/registry/manifest", () => {
  const digest = (character: string) => `sha256:${character.repeat(64)}`;
  const parse = (json: unknown, type = "") =>
    parseManifest(Buffer.from(JSON.stringify(json)), type);

  it("tells manifests from indexes, and leaves attestations out", () => {
    const entry = (c: string, architecture: string) => ({
      mediaType: mediaTypes.ociManifest,
      digest: digest(c),
      size: 1,
      platform: { os: "linux", architecture },
    });
    const index = parse({
      schemaVersion: 2,
      manifests: [
        entry("a", "amd64"),
        entry("b", "unknown"),
        {
          ...entry("c", "amd64"),
          annotations: { "vnd.docker.reference.type": "attestation-manifest" },
        },
      ],
    });
    equal(index.kind, "index");
    equal(index.mediaType, mediaTypes.ociIndex);
    deepEqual(index.kind === "index" && imagesOf(index).map((d) => d.digest), [digest("a")]);
    const manifest = parse(
      { config: { digest: digest("c"), size: 2 }, layers: [{ digest: digest("d"), size: 3 }] },
      `${mediaTypes.dockerManifest}; charset=utf-8`,
    );
    equal(manifest.kind, "manifest");
    equal(manifest.mediaType, mediaTypes.dockerManifest);
  });

  it("refuses what it cannot check", () => {
    for (const [json, message] of [
      [{ schemaVersion: 1, fsLayers: [] }, /schema 1/],
      [{}, /kind that is not known/],
      [[], /no manifest/],
      [{ layers: [] }, /no config/],
      [{ config: { digest: "md5:x", size: 1 }, layers: [] }, /without a digest/],
      [{ config: { digest: digest("a"), size: -1 }, layers: [] }, /without a size/],
      [{ manifests: [null] }, /no manifest/],
    ] as const) {
      throws(() => parse(json), { code: "failed-precondition", message }, JSON.stringify(json));
    }
    throws(() => parseManifest(Buffer.from("{"), ""), { message: /no JSON/ });
  });
});
