/**
 * Services between JSON and the schema, with bodies that stock clients have sent (test/support/client-bodies.json).
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Service, ServiceSpec } from "../../../../../src/common/api/generated/api.ts";
import { withServiceDefaults } from "../../../../../src/common/spec/service-defaults.ts";
import { bodyObject } from "../../../../../src/engine/translate/reader.ts";
import {
  serviceSpecFromJson,
  serviceSpecToJson,
  serviceToJson,
} from "../../../../../src/engine/translate/service.ts";

interface ClientBody {
  readonly client: string;
  readonly path: string;
  readonly body: { readonly Name: string; readonly TaskTemplate: Record<string, unknown> };
}

const bodies = (
  JSON.parse(readFileSync("test/support/client-bodies.json", "utf8")) as ClientBody[]
).filter(({ path }) => path.startsWith("/services/"));

/** What a client would receive: undefined fields are gone. */
const sent = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const parse = (body: unknown): ServiceSpec => serviceSpecFromJson(bodyObject(body));
const simple = (extra: object = {}) => ({
  Name: "web",
  TaskTemplate: { ContainerSpec: { Image: "nginx", ...extra } },
});

describe("src/engine/translate/service", () => {
  for (const { client, path, body } of bodies) {
    it(`gives back what client ${client} sent to ${path} for ${body.Name}`, () => {
      const spec = parse(body);
      const shown = sent(serviceSpecToJson(spec)) as ClientBody["body"];
      assert.deepEqual(ServiceSpec.encode(parse(shown)), ServiceSpec.encode(spec));
      // What is added is what the manager always shows; nothing that was sent is lost.
      const expected = structuredClone(body) as unknown as Record<string, Record<string, object>>;
      const shownByName = shown as unknown as Record<string, Record<string, object>>;
      for (const key of ["UpdateConfig", "RollbackConfig", "EndpointSpec", "Labels"])
        assert.deepEqual(shownByName[key], expected[key], key);
      const { Runtime, ContainerSpec, ...task } = shown.TaskTemplate;
      const { Runtime: _, ContainerSpec: container, ...sentTask } = body.TaskTemplate;
      assert.equal(Runtime, "container");
      assert.deepEqual(task, sentTask);
      assert.deepEqual(ContainerSpec, { ...(container as object), Isolation: "default" });
    });
  }

  it("stays the same when a client sends a shown spec back", () => {
    for (const { body } of bodies) {
      const once = ServiceSpec.encode(parse(body));
      const twice = parse(sent(serviceSpecToJson(ServiceSpec.decode(once))));
      assert.deepEqual(ServiceSpec.encode(twice), once);
    }
  });

  it("takes one replica when none is given, and reads every mode", () => {
    const modes: readonly (readonly [object, object])[] = [
      [{}, { Replicated: { Replicas: 1 } }],
      [{ Replicated: {} }, { Replicated: { Replicas: 1 } }],
      [{ Replicated: { Replicas: 0 } }, { Replicated: { Replicas: 0 } }],
      [{ Global: {} }, { Global: {} }],
      [{ GlobalJob: {} }, { GlobalJob: {} }],
      [{ ReplicatedJob: {} }, { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } }],
      [
        { ReplicatedJob: { MaxConcurrent: 3 } },
        { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 } },
      ],
    ];
    for (const [Mode, expected] of modes) {
      const shown = sent(serviceSpecToJson(parse({ ...simple(), Mode }))) as { Mode: object };
      assert.deepEqual(shown.Mode, expected);
    }
  });

  it("refuses what does not fit, with the place or Docker's text", () => {
    const container = (extra: object) => simple(extra);
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ Name: "x" }, /mismatched Runtime and \*Spec fields/],
      [{ TaskTemplate: { Runtime: "attachment" } }, /unsupported runtime/],
      [{ TaskTemplate: { Runtime: "plugin" } }, /runtime type "plugin" is not supported/],
      [{ ...simple(), Mode: { Global: {}, Replicated: {} } }, /must specify only one service mode/],
      [
        { ...simple(), Mode: { Replicated: { Replicas: -1 } } },
        /Mode\.Replicated\.Replicas must be a whole number that is not negative, not -1/,
      ],
      [{ ...simple(), Mode: { Replicated: { Replicas: 1.5 } } }, /Replicas must be a whole number/],
      [{ ...simple(), EndpointSpec: { Mode: "magic" } }, /invalid resolution mode: "magic"/],
      [
        { ...simple(), EndpointSpec: { Ports: [{ TargetPort: 70000 }] } },
        /EndpointSpec\.Ports\[0\]: a port is at most 65535/,
      ],
      [
        { ...simple(), UpdateConfig: { FailureAction: "retry" } },
        /unrecognized update failure action retry$/,
      ],
      [{ ...simple(), UpdateConfig: { Order: "sideways" } }, /unrecognized update order sideways$/],
      [
        { TaskTemplate: { ...simple().TaskTemplate, RestartPolicy: { Condition: "often" } } },
        /invalid RestartCondition: "often"/,
      ],
      [
        { TaskTemplate: { ...simple().TaskTemplate, Resources: { SwapBytes: 1 } } },
        /memory swap provided, but no memory-limit was set/,
      ],
      [container({ Mounts: [{ Type: "wormhole" }] }), /invalid MountType: "wormhole"/],
      [
        container({ Mounts: [{ BindOptions: { Propagation: "up" } }] }),
        /invalid MountPropagation: "up"/,
      ],
      [container({ Healthcheck: { Retries: -1 } }), /Retries in HealthConfig cannot be negative/],
      [container({ Configs: [{ ConfigID: "a" }] }), /either File or Runtime should be set/],
      [container({ Configs: [{ File: {}, Runtime: {} }] }), /cannot specify both File and Runtime/],
      [
        container({ Privileges: { CredentialSpec: {} } }),
        /must either provide "file", "registry", or "config"/,
      ],
      [container({ Env: [1] }), /TaskTemplate\.ContainerSpec\.Env\[0\] must be a string, not 1/],
    ];
    for (const [body, expected] of cases)
      assert.throws(() => parse(body), expected, JSON.stringify(body));
  });

  it("takes networks of the service itself for those of its tasks, as old clients send them", () => {
    const spec = parse({ ...simple(), Networks: [{ Target: "n", Aliases: ["a"] }] });
    assert.deepEqual(
      spec.task?.networks.map(({ target, aliases }) => [target, ...aliases]),
      [["n", "a"]],
    );
  });

  it("reads field names in any case and ignores unknown ones", () => {
    const spec = parse({ name: "web", tasktemplate: { containerspec: { IMAGE: "x", Nope: 1 } } });
    assert.equal(spec.annotations?.name, "web");
    assert.equal(spec.task?.container?.image, "x");
  });

  it("never shows registry credentials", () => {
    const spec = parse(simple());
    const container = spec.task?.container;
    const task = spec.task && {
      ...spec.task,
      container: container && { ...container, pull: { registryAuth: "c2VjcmV0" } },
    };
    const service = Service.create({ id: "s", spec: { ...spec, task } });
    assert.ok(!JSON.stringify(serviceToJson(service)).includes("c2VjcmV0"));
  });

  it("fills in defaults and leaves what is there", () => {
    const shown = sent(serviceSpecToJson(withServiceDefaults(parse(simple())))) as Record<
      string,
      object
    >;
    assert.deepEqual(shown["UpdateConfig"], {
      Parallelism: 1,
      FailureAction: "pause",
      Monitor: 5e9,
      MaxFailureRatio: 0,
      Order: "stop-first",
    });
    assert.deepEqual(shown["RollbackConfig"], shown["UpdateConfig"]);
    assert.deepEqual(shown["TaskTemplate"], {
      ContainerSpec: { Image: "nginx", StopGracePeriod: 10e9, DNSConfig: {}, Isolation: "default" },
      Resources: {},
      RestartPolicy: { Condition: "any", Delay: 5e9, MaxAttempts: 0 },
      Placement: {},
      ForceUpdate: 0,
      Runtime: "container",
    });
    const kept = withServiceDefaults(parse(simple({ StopGracePeriod: 0 })));
    assert.equal(kept.task?.container?.stopGracePeriodNs, 0);
  });
});
