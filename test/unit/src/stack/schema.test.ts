/** Tests of src/stack/schema.ts and its forms: what is refused where, and what is warned about. */
import { deepEqual, equal, match } from "node:assert/strict";
import { projectOfText, refusalOf } from "../../../support/compose.ts";

/** The message without the place, for service `a` with one more line. */
function refusal(line: string): string {
  return refusalOf(() => projectOfText(`services:\n  a:\n    image: i\n    ${line}`));
}

describe("src/stack/schema", () => {
  for (const [line, message] of [
    ["imagee: x", "compose.yaml:4:5: services.a Additional property imagee is not allowed"],
    [
      "deploy: {replica: 2}",
      "compose.yaml:4:14: services.a.deploy Additional property replica is not allowed",
    ],
    ["user: [x]", "compose.yaml:4:11: services.a.user must be a string or number"],
    ["hostname: 3", "compose.yaml:4:15: services.a.hostname must be a string"],
    ["init: maybe", "compose.yaml:4:11: services.a.init must be a boolean"],
    ["init: 1", "compose.yaml:4:11: services.a.init must be a boolean"],
    ["ports: 80", "compose.yaml:4:12: services.a.ports must be a list"],
    [
      "ports: ['x']",
      'compose.yaml:4:13: services.a.ports[0]: invalid port specification "x": the form is [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]',
    ],
    [
      "ports: ['80:90:1-2']",
      'compose.yaml:4:13: services.a.ports[0]: invalid port specification "80:90:1-2": the ranges of host and container are of different length',
    ],
    [
      "ports: ['80/icmp']",
      'compose.yaml:4:13: services.a.ports[0]: invalid port specification "80/icmp": invalid proto: icmp',
    ],
    ["ports: [{published: 1}]", "compose.yaml:4:13: services.a.ports[0] target is required"],
    [
      "ports: [{target: 70000}]",
      "compose.yaml:4:22: services.a.ports[0].target must be at most 65535",
    ],
    ["volumes: {a: b}", "compose.yaml:4:14: services.a.volumes must be a list"],
    [
      "volumes: ['a:b']",
      'compose.yaml:4:15: services.a.volumes[0]: invalid spec "a:b": the target "b" must be an absolute path',
    ],
    [
      "volumes: ['/a:/b:ro:x']",
      'compose.yaml:4:15: services.a.volumes[0]: invalid spec "/a:/b:ro:x": the form is [SOURCE:]TARGET[:OPTIONS], no part of it empty',
    ],
    [
      "volumes: ['/a:/b:fast']",
      'compose.yaml:4:15: services.a.volumes[0]: invalid spec "/a:/b:fast": the option "fast" is not known',
    ],
    [
      "volumes: [{type: tmpfs, source: x, target: /t}]",
      "compose.yaml:4:15: services.a.volumes[0]: invalid tmpfs source, source must be empty",
    ],
    [
      "volumes: [{type: bind, target: /t}]",
      "compose.yaml:4:15: services.a.volumes[0]: invalid bind source, source cannot be empty",
    ],
    [
      "volumes: [{type: volume, target: /t, bind: {propagation: shared}}]",
      "compose.yaml:4:15: services.a.volumes[0]: bind options are incompatible with type volume",
    ],
    [
      "deploy: {mode: x}",
      'compose.yaml:4:20: services.a.deploy.mode must be one of replicated, global, replicated-job, global-job, not "x"',
    ],
    ["deploy: {replicas: -1}", "compose.yaml:4:24: services.a.deploy.replicas must be at least 0"],
    ["deploy: {replicas: 1.5}", "compose.yaml:4:24: services.a.deploy.replicas must be an integer"],
    [
      "deploy: {update_config: {delay: soon}}",
      "compose.yaml:4:37: services.a.deploy.update_config.delay must be a duration such as 1m30s",
    ],
    ["mem_limit: much", "compose.yaml:4:16: services.a.mem_limit must be a size such as 50M"],
    [
      "restart: sometimes",
      "compose.yaml:4:14: services.a.restart must be no, always, on-failure[:N] or unless-stopped",
    ],
    ["command: 'a \"b'", "compose.yaml:4:14: services.a.command: a quote is not closed"],
    [
      "healthcheck: {test: [curl]}",
      'compose.yaml:4:25: services.a.healthcheck.test must begin with NONE, CMD or CMD-SHELL, not "curl"',
    ],
    [
      "ulimits: {nofile: {soft: 5}}",
      "compose.yaml:4:23: services.a.ulimits.nofile hard is required",
    ],
    [
      "ulimits: {nofile: {soft: 5, hard: 4}}",
      "compose.yaml:4:23: services.a.ulimits.nofile: soft limit 5 must be at most the hard limit 4",
    ],
    [
      "devices: [kvm]",
      "compose.yaml:4:15: services.a.devices[0]: the form is /dev/NAME[:/dev/NAME][:rwm]; devices by other names are not known to nodes",
    ],
    [
      "extra_hosts: [x]",
      'compose.yaml:4:19: services.a.extra_hosts: bad format for extra host "x": it must be HOST:ADDRESS',
    ],
    [
      "depends_on: {b: {condition: ready}}",
      'compose.yaml:4:33: services.a.depends_on.b.condition must be one of service_started, service_healthy, service_completed_successfully, not "ready"',
    ],
    ["gpus: some", 'compose.yaml:4:11: services.a.gpus must be one of all, not "some"'],
    ["networks: [n, n]", 'compose.yaml:4:19: services.a.networks contains the duplicate item "n"'],
  ] as const)
    it(`refuses ${line}`, () => equal(refusal(line), message));

  for (const [text, message] of [
    ["service: {}", "compose.yaml:1:1: (root) Additional property service is not allowed"],
    ["services: [a]", "compose.yaml:1:11: services must be a mapping"],
    [
      "services: {}\nnetworks: {n: {drivr: x}}",
      "compose.yaml:2:16: networks.n Additional property drivr is not allowed",
    ],
  ] as const)
    it(`refuses ${JSON.stringify(text)}`, () =>
      equal(
        refusalOf(() => projectOfText(text)),
        message,
      ));

  const reasons: readonly (readonly [string, RegExp])[] = [
    [
      "annotations: {a: b}",
      /annotations is ignored: annotations of containers are not part of services/,
    ],
    ["attach: false", /attach is ignored/],
    ["build: .", /build is ignored: images are not built here/],
    ["container_name: x", /container_name is ignored: containers of a service are named by/],
    ["credential_spec: {file: x}", /credential_spec is ignored: it is for Windows alone/],
    ["develop: {watch: []}", /develop is ignored/],
    ["device_cgroup_rules: ['c 1:3 mr']", /device_cgroup_rules is ignored: name the devices/],
    ["expose: [80]", /expose is ignored: services in one network reach all ports/],
    ["links: [b]", /links is ignored: services find each other by name/],
    ["external_links: [b]", /external_links is ignored/],
    ["mac_address: 02:42:ac:11:00:02", /mac_address is ignored/],
    ["post_start: [{command: x}]", /post_start is ignored: hooks are not run here/],
    ["pre_stop: [{command: x}]", /pre_stop is ignored/],
    ["runtime: runsc", /runtime is ignored/],
    ["storage_opt: {size: 1g}", /storage_opt is ignored/],
    ["userns_mode: other", /userns_mode is ignored: user namespaces are not used here/],
    ["uts: host", /uts is ignored/],
    ["volumes_from: [b]", /volumes_from is ignored: .*share a named volume/],
    ["cpu_rt_runtime: 1", /cpu_rt_runtime is ignored/],
    [
      "blkio_config: {weight: 10, device_read_bps: []}",
      /device_read_bps is ignored: there is no limit per device/,
    ],
    ["networks: {default: {mac_address: x}}", /mac_address is ignored/],
  ];
  for (const [line, reason] of reasons)
    it(`warns of ${line}, with its place`, () => {
      const { warnings } = projectOfText(`services:\n  a:\n    image: i\n    ${line}`);
      equal(warnings.length, 1);
      match(warnings[0]?.place ?? "", /^compose\.yaml:4:\d+$/);
      match(warnings[0]?.text ?? "", reason);
    });

  for (const line of ["userns_mode: host", "x-own: [anything]", "deploy: {x-more: 1}"])
    it(`is silent about ${line}`, () => {
      deepEqual(
        projectOfText(`version: "3.8"\nservices:\n  a:\n    image: i\n    ${line}`).warnings,
        [],
      );
    });

  it("keeps names of maps that have a meaning to the language", () => {
    const { model } = projectOfText(
      "services: {a: {image: i, labels: {__proto__: x, constructor: y}}}",
    );
    deepEqual(Object.entries(model.services["a"]?.labels ?? {}).length, 2);
  });
});
