/**
 * The table of roles, the status mapping and the relay header: pure parts of the RPC layer.
 */
import assert from "node:assert/strict";
import { Metadata } from "@grpc/grpc-js";
import * as api from "../../../../../src/common/api/generated/api.ts";
import { ClusterError, hasCode } from "../../../../../src/common/errors/cluster-error.ts";
import type { Identity } from "../../../../../src/common/identity/types.ts";
import { parseProxyHeader, proxyHeader } from "../../../../../src/common/rpc/relay.ts";
import { callersOf, checkCaller, knownMethods } from "../../../../../src/common/rpc/roles.ts";
import { errorFromStatus, statusFromError } from "../../../../../src/common/rpc/status.ts";

describe("src/common/rpc/roles", () => {
  const peer = (role: Identity["role"]): Identity => ({
    nodeId: "n1",
    role,
    clusterId: "c",
    notBeforeMs: 0,
    notAfterMs: 1,
  });

  it("has an entry for every method of the schema, and no other", () => {
    const paths = Object.entries(api)
      .filter(([name]) => name.endsWith("Service") && name !== "Service")
      .flatMap(([, service]) => Object.values(service as Record<string, { path?: string }>))
      // Messages may be called so, too.
      .flatMap(({ path }) => path ?? []);
    assert.deepEqual([...knownMethods()].sort(), paths.sort());
  });

  it("knows no method by accident", () => {
    assert.throws(() => callersOf("toString"), /no entry/);
    assert.throws(() => callersOf("/skep.v1.Control/Nothing"), /no entry/);
  });

  it("lets only managers control, every node hold a session, and anyone ask for a certificate", () => {
    checkCaller("/skep.v1.Control/CreateSecret", peer("manager"));
    checkCaller("/skep.v1.Dispatcher/Session", peer("worker"));
    checkCaller("/skep.v1.NodeCa/IssueNodeCertificate", undefined);
    const refused = (
      path: string,
      who: Identity | undefined,
      code: "permission-denied" | "unauthenticated",
    ) =>
      assert.throws(
        () => checkCaller(path, who),
        (error) => hasCode(error, code),
      );
    refused("/skep.v1.Control/CreateSecret", peer("worker"), "permission-denied");
    refused("/skep.v1.Control/CreateSecret", undefined, "unauthenticated");
    refused("/skep.v1.RaftTransport/Snapshot", peer("worker"), "permission-denied");
    refused("/skep.v1.NodeCa/GetUnlockKey", peer("worker"), "permission-denied");
    refused("/skep.v1.Dispatcher/Session", undefined, "unauthenticated");
    checkCaller("/skep.v1.Tunnel/Open", peer("worker"));
    refused("/skep.v1.TunnelRelay/Ask", peer("worker"), "permission-denied");
  });
});

describe("src/common/rpc/status", () => {
  it("brings a ClusterError through, with its fields", () => {
    const sent = new ClusterError("failed-precondition", "no, because … ü", {
      fields: { "node.id": "ñ", n: 1 },
    });
    const status = statusFromError(sent);
    const received = errorFromStatus(Object.assign(new Error("x"), status));
    assert.equal(received.code, sent.code);
    assert.equal(received.message, sent.message);
    assert.deepEqual(received.fields, sent.fields);
  });

  it("tells nothing of a bug", () => {
    const status = statusFromError(new Error("secret path /root"));
    assert.doesNotMatch(status.details, /secret/);
    assert.equal(errorFromStatus(Object.assign(new Error("x"), status)).code, "internal");
  });

  it("bounds text and fields", () => {
    const status = statusFromError(
      new ClusterError("unknown", "x".repeat(100_000), { fields: { big: "y".repeat(100_000) } }),
    );
    assert.equal(status.details.length, 2048);
    assert.deepEqual(errorFromStatus(Object.assign(new Error("x"), status)).fields, {});
  });

  it("lives with fields a peer garbled", () => {
    for (const value of ["%", "null", "%7B"]) {
      const metadata = new Metadata();
      metadata.set("skep-error-fields", value);
      const error = Object.assign(new Error("x"), { code: 5, details: "gone", metadata });
      const received = errorFromStatus(error);
      assert.equal(received.code, "not-found");
      assert.deepEqual(received.fields, {});
    }
  });
});

describe("src/common/rpc/relay", () => {
  it("reads what it writes", () => {
    for (const source of [
      { family: "IPv4", address: "192.0.2.1", port: 65_535 },
      { family: "IPv6", address: "2001:db8::1", port: 1 },
    ] as const) {
      assert.deepEqual(parseProxyHeader(proxyHeader(source).trimEnd()), source);
    }
  });

  it("takes a header in full, and none that is not one", () => {
    assert.deepEqual(parseProxyHeader("PROXY TCP4 10.0.0.1 10.0.0.2 4000 2377"), {
      family: "IPv4",
      address: "10.0.0.1",
      port: 4000,
    });
    for (const line of [
      "",
      "PROXY",
      "PROXY UNKNOWN",
      "PROXY TCP4 ::1 :: 1 2",
      "PROXY TCP6 10.0.0.1 :: 1 2",
      "PROXY TCP4 10.0.0.1 10.0.0.2 70000 1",
      "PROXY TCP4 10.0.0.1 10.0.0.2 x 1",
      "HELLO TCP4 10.0.0.1 10.0.0.2 1 1",
    ]) {
      assert.equal(parseProxyHeader(line), undefined, line);
    }
  });
});
