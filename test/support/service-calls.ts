/**
 * Services as tests of control make them: parts of a spec as clients write them, and the calls.
 */
import assert from "node:assert/strict";
import {
  Config,
  ControlService,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkSpec,
  Secret,
  type Service,
  type ServiceSpec,
} from "../../src/common/api/generated/api.ts";
import { bodyObject } from "../../src/engine/translate/reader.ts";
import { serviceSpecFromJson } from "../../src/engine/translate/service.ts";
import { type TestControl, testControl } from "./control.ts";

/** Of a spec, as clients write them. */
export interface Parts {
  readonly name?: string;
  readonly container?: object;
  readonly task?: object;
  readonly rest?: object;
}

/** A spec as a client would write it. */
export function spec({
  name = "web",
  container = {},
  task = {},
  rest = {},
}: Parts = {}): ServiceSpec {
  const ContainerSpec = { Image: "nginx", ...container };
  return serviceSpecFromJson(
    bodyObject({ Name: name, TaskTemplate: { ContainerSpec, ...task }, ...rest }),
  );
}

/** Creates a service. */
export const create = (control: TestControl, parts: Parts = {}) =>
  control.call(ControlService.createService, { spec: spec(parts), registryAuth: "", id: "" });

/** The service as it is stored. */
export function stored(control: TestControl, id: string): Service {
  const service = control.store.view().get("service", id);
  assert.ok(service !== undefined);
  return service;
}

/** Updates a service, from the version that is stored unless another is given. */
export async function update(
  control: TestControl,
  id: string,
  parts: Parts,
  more: { version?: number; rollback?: "previous"; to?: number; auth?: string; from?: string } = {},
): Promise<Service> {
  await control.call(ControlService.updateService, {
    id,
    version: more.version ?? stored(control, id).meta?.version ?? 0,
    spec: spec(parts),
    rollback: more.rollback ?? "none",
    rollbackTo: more.to ?? 0,
    rebalance: false,
    registryAuthFrom: more.from ?? "spec",
    registryAuth: more.auth ?? "",
  });
  return stored(control, id);
}

/** A port of the node. */
export const host = (PublishedPort: number) => ({
  PublishedPort,
  TargetPort: 80,
  PublishMode: "host",
});
/** A port of the routing mesh. */
export const mesh = (PublishedPort: number) => ({ PublishedPort, TargetPort: 80 });
/** Parts with ports. */
export const ports = (...Ports: object[]) => ({ rest: { EndpointSpec: { Ports } } });
/** A reference to a secret or a config, whichever it is put among. */
export const reference = (id: string, name: string, file = name) => ({
  SecretID: id,
  SecretName: name,
  ConfigID: id,
  ConfigName: name,
  File: { Name: file, UID: "0", GID: "0", Mode: 292 },
});

/** Networks `back` and `ingress`, a secret and a config, as stored. */
export async function withObjects(): Promise<TestControl> {
  const control = testControl();
  const annotations = (name: string) => ({ name, labels: {} });
  await control.store.update((tx) => {
    const back = NetworkSpec.create({ annotations: annotations("back") });
    const ingress = NetworkSpec.create({ annotations: annotations("ingress"), ingress: true });
    const ipam = IpamOptions.create({ configs: [IpamConfig.create({ subnet: "10.0.1.0/24" })] });
    tx.create("network", Network.create({ id: "n1", spec: back, ipam }));
    tx.create("network", Network.create({ id: "n2", spec: ingress }));
    const data = new Uint8Array([1]);
    const none = { driver: undefined, templating: undefined };
    tx.create(
      "secret",
      Secret.create({ id: "s1", spec: { annotations: annotations("key"), data, ...none } }),
    );
    tx.create(
      "config",
      Config.create({
        id: "c1",
        spec: { annotations: annotations("site"), data, templating: undefined },
      }),
    );
  });
  return control;
}

/** A job with labels. */
export const cron = (Labels: Readonly<Record<string, string>>) => ({
  Mode: { ReplicatedJob: {} },
  Labels,
});
/** Labels of a schedule that is well. */
export const due = (more: Readonly<Record<string, string>>) => ({
  "skep.cron": "@daily",
  ...Object.fromEntries(Object.entries(more).map(([key, value]) => [`skep.cron.${key}`, value])),
});
/** Parts with labels, in network `back`. */
export function labelled(Labels: object, rest: object = {}): Parts {
  return { task: { Networks: [{ Target: "n1" }] }, rest: { Labels, ...rest } };
}
