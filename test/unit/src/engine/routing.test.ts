/**
 * From a request to its route, from an error to its reply; versions and bodies.
 */
import assert from "node:assert/strict";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { seededRandom } from "../../../../src/common/random/random.ts";
import { errorReply, fromManager } from "../../../../src/engine/errors.ts";
import { randomName } from "../../../../src/engine/names.ts";
import { json } from "../../../../src/engine/reply.ts";
import { Router, splitVersion } from "../../../../src/engine/router.ts";
import { JsonObject } from "../../../../src/engine/translate/reader.ts";
import { olderThan, requireServed } from "../../../../src/engine/versions.ts";

describe("src/engine/router", () => {
  const router = new Router(
    [
      ["GET", "/services/{id}"],
      ["GET", "/services"],
      ["POST", "/services/create"],
      ["GET", "/images/{name...}/json"],
      ["POST", "/images/{rest...}"],
    ].map(([method, pattern]) => ({
      method: method as "GET",
      pattern: pattern ?? "",
      handler: () => json(pattern),
    })),
  );

  it("finds fixed paths, parts, and names with slashes", () => {
    assert.equal(router.find("GET", "/services").route.pattern, "/services");
    assert.deepEqual(router.find("GET", "/services/create").params, { id: "create" });
    assert.equal(router.find("POST", "/services/create").route.pattern, "/services/create");
    assert.deepEqual(router.find("GET", "/services/a%2Fb").params, { id: "a/b" });
    assert.deepEqual(router.find("GET", "/images/reg:5000/x/y/json").params, {
      name: "reg:5000/x/y",
    });
  });

  it("refuses the rest", () => {
    for (const [method, path] of [
      ["GET", "/"],
      ["DELETE", "/services"],
      ["GET", "/services/a/b"],
      ["GET", "/services/"],
    ] as const)
      assert.throws(() => router.find(method, path), {
        code: "not-found",
        message: "page not found",
      });
    assert.throws(() => router.find("GET", "/services/%zz"), { code: "invalid-argument" });
  });

  it("takes the version off a path", () => {
    assert.deepEqual(splitVersion("/v1.41/info"), { version: "1.41", path: "/info" });
    assert.deepEqual(splitVersion("/info"), { version: undefined, path: "/info" });
    assert.deepEqual(splitVersion("/v1.41"), { version: undefined, path: "/v1.41" });
    assert.deepEqual(splitVersion("/version"), { version: undefined, path: "/version" });
  });
});

describe("src/engine/versions", () => {
  it("compares by number, not by text", () => {
    assert.ok(olderThan("1.9", "1.24"));
    assert.ok(!olderThan("1.47", "1.47"));
    assert.ok(olderThan("1.47", "2.0"));
    for (const version of ["1.24", "1.30", "1.47"])
      assert.doesNotThrow(() => requireServed(version));
    for (const version of ["1.23", "0.9", "1.48", "2.1"])
      assert.throws(() => requireServed(version));
  });
});

describe("src/engine/errors", () => {
  it("maps codes to statuses", () => {
    const cases = [
      ["invalid-argument", 400],
      ["failed-precondition", 400],
      ["out-of-range", 400],
      ["unauthenticated", 401],
      ["permission-denied", 403],
      ["not-found", 404],
      ["already-exists", 409],
      ["unimplemented", 501],
      ["unavailable", 503],
      ["unknown", 500],
      ["internal", 500],
    ] as const;
    for (const [code, status] of cases) {
      const reply = errorReply(new ClusterError(code, "text"));
      assert.deepEqual(reply, { status, message: "text", unexpected: false });
    }
  });

  it("marks what is not expected", () => {
    const reply = errorReply(new TypeError("x is not a function"));
    assert.equal(reply.status, 500);
    assert.equal(reply.unexpected, true);
  });

  it("puts Docker's prefix before errors of the manager only", () => {
    const error = fromManager(new ClusterError("failed-precondition", "no", { fields: { a: 1 } }));
    assert.ok(error instanceof ClusterError);
    assert.equal(error.message, "rpc error: code = FailedPrecondition desc = no");
    assert.deepEqual([error.code, error.fields], ["failed-precondition", { a: 1 }]);
    const bug = new TypeError("bug");
    assert.equal(fromManager(bug), bug);
  });

  it("never says 409, which clients take for a name that exists, of what the managers gave up", () => {
    const error = fromManager(new ClusterError("aborted", "leadership was lost"));
    assert.deepEqual(errorReply(error), {
      status: 503,
      message: "rpc error: code = Aborted desc = leadership was lost",
      unexpected: false,
    });
  });
});

describe("src/engine/translate/reader", () => {
  it("keeps keys of maps off every prototype", () => {
    const value = JSON.parse('{"Labels":{"__proto__":"x","a":null}}');
    const map = new JsonObject(value, "").stringMap("labels");
    assert.deepEqual(Object.entries(map), [
      ["__proto__", "x"],
      ["a", ""],
    ]);
    assert.equal(Object.getPrototypeOf(map), null);
  });

  it("counts null as absent", () => {
    const body = new JsonObject({ A: null, B: null, C: null, D: null }, "");
    assert.deepEqual(
      [body.string("A"), body.integer("B"), body.strings("C"), body.object("D")],
      ["", 0, [], undefined],
    );
  });

  it("reads base64 strictly", () => {
    const bytes = (Data: string) => new JsonObject({ Data }, "").bytes("Data");
    assert.deepEqual([...bytes("aGk=")], [104, 105]);
    assert.deepEqual([...bytes("aG\nk=")], [104, 105]);
    for (const wrong of ["aGk", "a===", "a-_=", "=aGk", "aGk=aGk="])
      assert.throws(() => bytes(wrong), /Data must be base64 data/, wrong);
  });

  it("refuses numbers the wire cannot carry", () => {
    const body = new JsonObject({ A: 1e19, B: 2 ** 32, C: -1 }, "Spec");
    assert.throws(() => body.integer("A"), /Spec\.A must be a whole number/);
    assert.throws(() => body.uint32("B"), /Spec\.B must be a whole number below/);
    assert.throws(() => body.natural("C"), /not negative, not -1/);
  });
});

describe("src/engine/names", () => {
  it("makes names that services may have", () => {
    const random = seededRandom(7);
    for (let i = 0; i < 200; i++) assert.match(randomName(random), /^[a-z]+_[a-z]+$/);
  });
});
