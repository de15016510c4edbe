/**
 * Cross-check with OpenSSL's own tool: it must read, verify and accept what this code makes, and the other way round.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKey } from "../../../../src/common/identity/key.ts";
import { createRequest, parseRequest } from "../../../../src/common/identity/request.ts";
import { type TestCluster, testCluster } from "../../../support/test-cluster.ts";

describe("src/common/identity against openssl", () => {
  let folder: string;
  let cluster: TestCluster;

  before(async function () {
    if (spawnSync("openssl", ["version"]).status !== 0) {
      console.log("skipped: the openssl command is not installed");
      this.skip();
    }
    folder = mkdtempSync(join(tmpdir(), "skep-openssl-"));
    cluster = await testCluster();
    writeFileSync(join(folder, "root.pem"), cluster.root.certificate);
  });
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });

  it("reads and verifies the root", () => {
    assert.match(openssl("verify", "-x509_strict", "-CAfile", "root.pem", "root.pem"), /OK/);
    const text = openssl("x509", "-in", "root.pem", "-noout", "-text");
    for (const part of [
      /Issuer: CN = swarm-ca/,
      /CA:TRUE/,
      /NIST CURVE: P-256/,
      /ecdsa-with-SHA256/,
    ]) {
      assert.match(text, part);
    }
  });

  for (const role of ["manager", "worker"] as const) {
    it(`verifies a ${role}'s certificate for both ends of TLS`, async () => {
      const node = await cluster.node(role);
      writeFileSync(join(folder, "node.pem"), node.tls.certificate);
      for (const purpose of ["sslserver", "sslclient"]) {
        assert.match(
          openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.pem", "node.pem"),
          /OK/,
        );
      }
      const text = openssl("x509", "-in", "node.pem", "-noout", "-text");
      assert.match(
        text,
        new RegExp(`O = ${cluster.clusterId}, OU = swarm-${role}, CN = ${node.nodeId}`),
      );
      assert.match(text, /CA:FALSE/);
      assert.equal(/DNS:skep-raft/.test(text), role === "manager");
    });
  }

  it("reads our key and verifies our request", async () => {
    const key = await createKey();
    writeFileSync(join(folder, "key.pem"), key);
    writeFileSync(join(folder, "request.der"), createRequest(key));
    openssl("pkey", "-in", "key.pem", "-check", "-noout");
    openssl("req", "-inform", "DER", "-in", "request.der", "-verify", "-noout");
    const ofRequest = openssl("req", "-inform", "DER", "-in", "request.der", "-pubkey", "-noout");
    assert.equal(ofRequest, openssl("pkey", "-in", "key.pem", "-pubout"));
  });

  it("makes requests that are accepted, and RSA ones that are not", () => {
    const request = (...key: string[]) => {
      openssl(
        "req",
        "-new",
        ...key,
        "-nodes",
        "-keyout",
        "k.pem",
        "-subj",
        "/CN=me/O=x",
        "-outform",
        "DER",
        "-out",
        "r.der",
        "-sha256",
      );
      return readFileSync(join(folder, "r.der"));
    };
    openssl("ecparam", "-name", "prime256v1", "-out", "p256.pem");
    openssl("ecparam", "-name", "secp384r1", "-out", "p384.pem");
    const parsed = parseRequest(request("-newkey", "ec:p256.pem"));
    const spki = execFileSync("openssl", ["pkey", "-in", "k.pem", "-pubout", "-outform", "DER"], {
      cwd: folder,
      stdio: ["ignore", "pipe", "ignore"],
    });
    assert.deepEqual(parsed.publicKey, spki);
    assert.throws(() => parseRequest(request("-newkey", "ec:p384.pem")), /P-256/);
    assert.throws(() => parseRequest(request("-newkey", "rsa:2048")), /P-256/);
  });
});
