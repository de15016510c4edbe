/**
 * Certificates: what an issued one says, and which ones a node does not accept.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import type { ErrorCode } from "../../../../../src/common/errors/cluster-error.ts";
import { hasCode } from "../../../../../src/common/errors/cluster-error.ts";
import {
  certificatesFromPem,
  certificateToPem,
} from "../../../../../src/common/identity/algorithms.ts";
import {
  backdateMs,
  identityOf,
  issueCaCertificate,
  issueNodeCertificate,
  parseCertificate,
} from "../../../../../src/common/identity/certificate.ts";
import { createKey, publicKeyOf } from "../../../../../src/common/identity/key.ts";
import { createRootCa, rootDigest, rootLifeMs } from "../../../../../src/common/identity/root.ts";
import { verifyCertificate } from "../../../../../src/common/identity/verify.ts";
import { systemRandom } from "../../../../../src/common/random/random.ts";
import { type TestCluster, type TestNode, testCluster } from "../../../../support/test-cluster.ts";

const hour = 3600_000;
const day = 24 * hour;

describe("src/common/identity/certificate", () => {
  let cluster: TestCluster;
  let node: TestNode;
  const now = Date.now();

  before(async () => {
    cluster = await testCluster();
    node = await cluster.node("manager", { lifeMs: 90 * day, nowMs: now });
  });

  const check = (
    chain: string | Uint8Array,
    more: Partial<Parameters<typeof verifyCertificate>[0]> = {},
  ) => verifyCertificate({ chain, roots: cluster.root.certificate, nowMs: now, ...more });
  const refuses = (code: ErrorCode, text: RegExp, run: () => unknown) =>
    assert.throws(run, (error) => hasCode(error, code) && text.test((error as Error).message));

  it("says node, role and cluster, from an hour ago for the life asked for", () => {
    const identity = check(node.tls.certificate);
    assert.equal(identity.nodeId, node.nodeId);
    assert.equal(identity.role, "manager");
    assert.equal(identity.clusterId, cluster.clusterId);
    assert.equal(identity.notBeforeMs, Math.floor((now - backdateMs) / 1000) * 1000);
    assert.equal(identity.notAfterMs, Math.floor((now + 90 * day) / 1000) * 1000);
  });

  it("is read the same way by OpenSSL", () => {
    const x = new X509Certificate(node.tls.certificate);
    assert.equal(x.subject, `O=${cluster.clusterId}\nOU=swarm-manager\nCN=${node.nodeId}`);
    assert.equal(x.issuer, "CN=swarm-ca");
    assert.equal(x.subjectAltName, `DNS:swarm-manager, DNS:${node.nodeId}, DNS:skep-raft`);
    assert.equal(x.ca, false);
    assert(x.verify(new X509Certificate(cluster.root.certificate).publicKey));
    assert(new X509Certificate(cluster.root.certificate).ca);
  });

  it("lives an hour at least, and never longer than its issuer", () => {
    const issue = (lifeMs: number, nowMs: number) =>
      parseCertificate(
        issueNodeCertificate({
          issuer: cluster.root,
          publicKey: publicKeyOf(node.tls.key),
          nodeId: node.nodeId,
          role: "worker",
          clusterId: cluster.clusterId,
          nowMs,
          lifeMs,
          serial: systemRandom.bytes(16),
        }).certificate,
      ).notAfterMs;
    assert.equal(issue(1, now), Math.floor((now + hour) / 1000) * 1000);
    const end = parseCertificate(cluster.root.certificate).notAfterMs;
    assert.equal(issue(90 * day, end - day), end);
  });

  it("goes on past 2049", async () => {
    const nowMs = Date.parse("2049-12-31T12:00:00Z");
    const root = await createRootCa({ nowMs, random: systemRandom });
    const parsed = parseCertificate(root.certificate);
    assert.equal(parsed.notAfterMs, nowMs + rootLifeMs);
    assert.equal(parsed.notBeforeMs, nowMs - backdateMs);
    assert.match(new X509Certificate(root.certificate).validTo, /2069/);
  });

  it("has a fingerprint that does not depend on how the PEM is laid out", () => {
    const pem = cluster.root.certificate;
    assert.equal(rootDigest(pem), rootDigest(`# comment\r\n${pem.replaceAll("\n", "\r\n")}`));
    assert.equal(
      rootDigest(pem),
      new X509Certificate(pem).fingerprint256.replaceAll(":", "").toLowerCase(),
    );
  });

  it("refuses a certificate of a foreign root", async () => {
    const other = await (await testCluster()).node("manager");
    refuses("unauthenticated", /not signed by the root CA/, () => check(other.tls.certificate));
  });

  it("refuses a root that calls itself a node's", async () => {
    const key = await createKey();
    const certificate = issueCaCertificate({
      subject: { commonName: node.nodeId, unit: "swarm-manager", organization: cluster.clusterId },
      key,
      publicKey: publicKeyOf(key),
      notBeforeMs: now - day,
      notAfterMs: now + day,
      serial: systemRandom.bytes(16),
    });
    refuses("unauthenticated", /not signed by/, () => check(certificate));
  });

  it("refuses a certificate signed by a node", async () => {
    const key = await createKey();
    const { certificate: forged } = issueNodeCertificate({
      issuer: node.tls,
      publicKey: publicKeyOf(key),
      nodeId: "x",
      role: "manager",
      clusterId: cluster.clusterId,
      nowMs: now,
      lifeMs: day,
      serial: systemRandom.bytes(16),
    });
    refuses("unauthenticated", /not signed by/, () => check(forged + node.tls.certificate));
  });

  it("accepts a chain over a cross-signed root", async () => {
    const next = await testCluster();
    const below = await next.node("worker");
    const parsed = parseCertificate(next.root.certificate);
    const cross = issueCaCertificate({
      subject: parsed.subject,
      key: next.root.key,
      publicKey: parsed.publicKey,
      issuer: cluster.root,
      notBeforeMs: now - day,
      notAfterMs: now + day,
      serial: systemRandom.bytes(16),
    });
    assert.equal(check(below.tls.certificate + cross).nodeId, below.nodeId);
    refuses("unauthenticated", /not signed by/, () => check(below.tls.certificate));
    refuses("unauthenticated", /not signed by/, () =>
      check(below.tls.certificate + cross, { nowMs: now + 2 * day, ignoreExpiry: true }),
    );
  });

  it("refuses an expired one and says when, unless expiry is what the call is about", () => {
    const nowMs = now + 91 * day;
    refuses("unauthenticated", /^certificate has expired on 2/, () =>
      check(node.tls.certificate, { nowMs }),
    );
    assert.equal(check(node.tls.certificate, { nowMs, ignoreExpiry: true }).nodeId, node.nodeId);
  });

  it("refuses one that is not valid yet and points to the clock", () => {
    refuses("unauthenticated", /not valid before .*clock/, () =>
      check(node.tls.certificate, { nowMs: now - 2 * hour, ignoreExpiry: true }),
    );
  });

  const others = [
    ["cluster", { clusterId: "other" }],
    ["node", { nodeId: "other" }],
    ["role", { role: "worker" }],
  ] as const;
  for (const [what, expected] of others) {
    it(`refuses one of another ${what} than expected`, () => {
      refuses("permission-denied", new RegExp(`of ${what} .*expected`), () =>
        check(node.tls.certificate, { expected }),
      );
    });
  }

  const subjects = [
    ["an unknown unit", { commonName: "n", unit: "swarm-ca", organization: "c" }],
    ["no unit", { commonName: "n", unit: "", organization: "c" }],
    ["no node id", { commonName: "", unit: "swarm-manager", organization: "c" }],
    ["no cluster", { commonName: "n", unit: "swarm-worker", organization: "" }],
  ] as const;
  for (const [what, subject] of subjects) {
    it(`takes a certificate with ${what} for no node's`, async () => {
      const key = await createKey();
      const certificate = issueCaCertificate({
        subject,
        key,
        publicKey: publicKeyOf(key),
        issuer: cluster.root,
        notBeforeMs: now - day,
        notAfterMs: now + day,
        serial: systemRandom.bytes(16),
      });
      refuses("unauthenticated", /not that of a swarm node/, () => check(certificate));
      assert.throws(() => identityOf(parseCertificate(certificate)));
    });
  }

  it("refuses certificates it cannot read, and says so", () => {
    const [der = Buffer.alloc(0)] = certificatesFromPem(node.tls.certificate);
    refuses("invalid-argument", /DER/, () => check(der.subarray(0, der.length - 9)));
    refuses("invalid-argument", /DER/, () => check(Buffer.concat([der, Buffer.of(0)])));
    refuses("invalid-argument", /larger than/, () => check(Buffer.alloc(20_000)));
    refuses("invalid-argument", /no PEM certificate/, () => check("no certificate at all"));
    refuses("invalid-argument", /bundle is larger/, () => check(node.tls.certificate.repeat(200)));
    refuses("invalid-argument", /too long/, () => check(node.tls.certificate.repeat(9)));
    refuses("invalid-argument", /ECDSA|P-256/, () => check(rsaCertificate));
  });

  it("accepts no certificate with any single byte changed", () => {
    const [der = Buffer.alloc(0)] = certificatesFromPem(node.tls.certificate);
    for (let at = 0; at < der.length; at += 3) {
      const changed = Buffer.from(der);
      changed[at] = (changed[at] ?? 0) ^ 0x55;
      assert.throws(() => check(certificateToPem(changed)), `byte ${at} may change without notice`);
    }
  });
});

/** A self-signed RSA certificate made with `openssl req -x509 -newkey rsa:1024`. */
const rsaCertificate = `-----BEGIN CERTIFICATE-----
MIICPDCCAaWgAwIBAgIUc6rlHblryN3fTfE94g2o4YkEsEcwDQYJKoZIhvcNAQEL
BQAwMDEKMAgGA1UECgwBYzEWMBQGA1UECwwNc3dhcm0tbWFuYWdlcjEKMAgGA1UE
AwwBbjAeFw0yNjExMjEwNDI0NDFaFw00NjExMTYwNDI0NDFaMDAxCjAIBgNVBAoM
AWMxFjAUBgNVBAsMDXN3YXJtLW1hbmFnZXIxCjAIBgNVBAMMAW4wgZ8wDQYJKoZI
hvcNAQEBBQADgY0AMIGJAoGBALo2MXwqcNkiTx4SwWtt8cNfFn7amtLHq+37UMQY
jfcJT8B9ceAAaEfUTjKCsKZkjJ9P1lgagI+NBQGTA+RD9XfSuPvftFQ+PId/Vwhc
Y3olZYGPpufOVDGvMZiZYCs36OANQyJMUfRR0rodRXkOAF1Zug+iFVm4e37fElt3
CEuLAgMBAAGjUzBRMB0GA1UdDgQWBBQGWuXRiDcirfsz5eIa9VttgAbUxzAfBgNV
HSMEGDAWgBQGWuXRiDcirfsz5eIa9VttgAbUxzAPBgNVHRMBAf8EBTADAQH/MA0G
CSqGSIb3DQEBCwUAA4GBALlVxjQsSor6zSAvCimaxGccui7yfDCZDlM9n9quI5dz
S7gUX7qW5uMdg3tXKf2ixPIFA2wnSMjUuf+eZHlyGfriN020ZDAnSlv7zwX/6jrb
m1k6d81AF2286IuiUPYooiXfB0XVPNs2E1+FkcStwQL1DbOWezj/9HOrQ9b52sub
-----END CERTIFICATE-----`;
