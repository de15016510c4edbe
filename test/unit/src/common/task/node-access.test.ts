/**
 * Devices and privileges: asked for by services, allowed by nodes.
 */
import { deepEqual, equal, throws } from "node:assert/strict";
import {
  Annotations,
  ContainerSpec,
  Task,
  TaskSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { devicesOf, extrasOf, isPrivileged } from "../../../../../src/common/task/node-access.ts";

const asking = (labels: Record<string, string>) =>
  Task.create({ serviceAnnotations: Annotations.create({ labels }) });
const node = (labels: Record<string, string> = {}) => ({ hostname: "pi", labels });

const saying = (labels: Record<string, string>) =>
  Task.create({ spec: TaskSpec.create({ container: ContainerSpec.create({ labels }) }) });

describe("src/common/task/node-access", () => {
  it("takes labels of the container as those of the service", () => {
    const all = node({ "skep.privileged": "allow", "skep.devices": "allow" });
    equal(isPrivileged(saying({ "skep.privileged": "true" }), all), true);
    equal(devicesOf(saying({ "skep.devices": "/dev/a" }), all).length, 1);
    throws(() => isPrivileged(saying({ "skep.privileged": "true" }), node()), /does not allow/);
  });

  for (const [label, value] of [
    ["skep.pid", "host"],
    ["skep.ipc", "host"],
    ["skep.cgroup", "host"],
    ["skep.cgroup-parent", "/x"],
    ["skep.uts", "host"],
    ["skep.annotations", '{"run.oci.hooks.stdout":"/etc/passwd"}'],
    ["skep.post-start", '[{"command":["x"],"privileged":true}]'],
  ] as const)
    it(`gives ${label} where the node allows privileges`, () => {
      const task = saying({ [label]: value });
      extrasOf(task, node({ "skep.privileged": "allow" }));
      throws(() => extrasOf(task, node()), /node pi does not allow.*skep\.privileged=allow pi/);
    });

  it("gives what stays within the container everywhere", () => {
    const labels = {
      "skep.shm-size": "64m",
      "skep.cpu-shares": "512",
      "skep.pid": "private",
      "skep.annotations": '{"org.example.team":"bees"}',
      "skep.pre-stop": '[{"command":["x"]}]',
    };
    equal(extrasOf(saying(labels), node()).shmSizeBytes, 64 * 2 ** 20);
  });

  it("gives rules for devices where the node allows devices", () => {
    const task = saying({ "skep.device-cgroup-rules": "c 1:11 r" });
    const allowing = node({ "skep.devices": "allow" });
    deepEqual(extrasOf(task, allowing).deviceRules, [
      { type: "c", major: 1, minor: 11, access: "r" },
    ]);
    throws(() => extrasOf(task, node()), /node pi does not allow.*skep\.devices=allow pi/);
  });

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
