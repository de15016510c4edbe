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
    [
      "device_cgroup_rules: ['x 1:3']",
      'compose.yaml:4:27: services.a.device_cgroup_rules[0]: invalid device cgroup rule "x 1:3": the form is c|b|a MAJOR:MINOR r|w|m, such as "c 1:3 mr"',
    ],
    [
      "mac_address: '01:42:ac:11:00:02'",
      'compose.yaml:4:18: services.a.mac_address: invalid MAC address "01:42:ac:11:00:02": the form is 02:42:ac:11:00:02, the first byte even',
    ],
    [
      "networks: {default: {mac_address: x}}",
      'compose.yaml:4:39: services.a.networks.default.mac_address: invalid MAC address "x": the form is 02:42:ac:11:00:02, the first byte even',
    ],
    ["post_start: [{user: x}]", "compose.yaml:4:18: services.a.post_start[0] command is required"],
    [
      "pre_stop: [{command: []}]",
      "compose.yaml:4:26: services.a.pre_stop[0].command must name a program",
    ],
    ["uts: x", 'compose.yaml:4:10: services.a.uts must be one of host, private, not "x"'],
    [
      "volumes_from: ['container:x']",
      "compose.yaml:4:20: services.a.volumes_from[0] must be SERVICE[:ro] or SERVICE[:rw]",
    ],
    [
      "blkio_config: {device_read_bps: [{path: /dev/sda}]}",
      "compose.yaml:4:38: services.a.blkio_config.device_read_bps[0] rate is required",
    ],
    [
      "blkio_config: {weight_device: [{path: sda, weight: 50}]}",
      "compose.yaml:4:43: services.a.blkio_config.weight_device[0].path must be a device such as /dev/sda",
    ],
    [
      "storage_opt: {size: much}",
      'compose.yaml:4:18: services.a.storage_opt: size "much" is not a size from 4m to 8t, such as 1g',
    ],
    [
      "storage_opt: {dm.size: 1g}",
      'compose.yaml:4:18: services.a.storage_opt: unknown option "dm.size": only size is known',
    ],
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
    ["attach: false", /attach is ignored/],
    ["build: .", /build is ignored: images are not built here/],
    ["container_name: x", /container_name is ignored: containers of a service are named by/],
    ["credential_spec: {file: x}", /credential_spec is ignored: it is for Windows alone/],
    ["develop: {watch: []}", /develop is ignored/],
    ["expose: [80]", /expose is ignored: services in one network reach all ports/],
    ["links: [b]", /links is ignored: services find each other by name/],
    ["external_links: [b]", /external_links is ignored/],
    ["runtime: runsc", /runtime is ignored/],
    ["userns_mode: other", /userns_mode is ignored: user namespaces are not used here/],
    ["cpu_rt_runtime: 1", /cpu_rt_runtime is ignored/],
    ["networks: {default: {gw_priority: 1}}", /gw_priority is ignored/],
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
