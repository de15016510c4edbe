/**
 * Devices and privileges: asked for by services, allowed by nodes.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import { devicesOf, isPrivileged } from "../../../../../agent/exec/containerd/node-access.ts";
import { Annotations, Task } from "../../../../../src/common/api/generated/api.ts";

const asking = (labels: Record<string, string>) =>
  Task.create({ serviceAnnotations: Annotations.create({ labels }) });
const node = (labels: Record<string, string> = {}) => ({ hostname: "pi", labels });

describe("agent/exec/containerd/node-access", () => {
  it("gives nothing that was not asked for", () => {
    const all = node({ "skep.privileged": "allow", "skep.devices": "allow" });
    equal(isPrivileged(asking({}), all), false);
    equal(isPrivileged(asking({ "skep.privileged": "false" }), all), false);
    deepEqual(devicesOf(asking({}), all), []);
  });

  it("gives privileges where the node allows them", () => {
    const task = asking({ "skep.privileged": "true" });
    equal(isPrivileged(task, node({ "skep.privileged": "allow" })), true);
    throws(() => isPrivileged(task, node()), /node pi does not allow.*skep\.privileged=allow pi/);
    throws(() => isPrivileged(task, node({ "skep.devices": "allow" })), /does not allow/);
  });

  const forms: readonly (readonly [string, string])[] = [
    ["/dev/ttyUSB0", "/dev/ttyUSB0 /dev/ttyUSB0 rwm"],
    ["/dev/a:/dev/b", "/dev/a /dev/b rwm"],
    ["/dev/a:r", "/dev/a /dev/a r"],
    ["/dev/a:/dev/b:rw, /dev/c", "/dev/a /dev/b rw; /dev/c /dev/c rwm"],
  ];
  for (const [wish, expected] of forms) {
    it(`reads ${wish}`, () => {
      const found = devicesOf(asking({ "skep.devices": wish }), node({ "skep.devices": "allow" }));
      equal(
        found.map((d) => `${d.pathOnHost} ${d.pathInContainer} ${d.permissions}`).join("; "),
        expected,
      );
    });
  }

  for (const wish of [
    "/etc/passwd",
    "/dev/a:/etc/b",
    "/dev/a:/dev/b:x",
    "/dev/a:/dev/b:r:w",
    ",",
  ]) {
    it(`refuses ${wish}`, () => {
      const task = asking({ "skep.devices": wish });
      throws(() => devicesOf(task, node({ "skep.devices": "allow" })), /the form is/);
    });
  }

  it("refuses devices where the node does not allow them, and a word that is none", () => {
    throws(() => devicesOf(asking({ "skep.devices": "/dev/a" }), node()), /does not allow/);
    throws(() => isPrivileged(asking({ "skep.privileged": "yes" }), node()), /true or false/);
  });
});
