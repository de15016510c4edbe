/** Tests of src/stack/translate/stack.ts: what a whole file becomes, and that it is printed as it was read. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is read here
import { deepEqual, equal, match } from "node:assert/strict";
import { exported } from "../../../../src/stack/export.ts";
import { serviceDifferences } from "../../../../src/stack/plan.ts";
import { projectText } from "../../../../src/stack/print.ts";
import { stackSpecs as specsOf } from "../../../../src/stack/translate/stack.ts";
import { projectOf, projectOfText, refusalOf, specsOfText } from "../../../support/compose.ts";

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null));

/** A file with the keys of containers, tasks and services. */
const manyKeys = `services:
  a:
    image: i:1
    command: [x, "$$y"]
    entrypoint: [e]
    environment: {A: b, C: }
    working_dir: /w
    user: "5"
    group_add: ["6"]
    hostname: h
    domainname: d
    tty: true
    stdin_open: true
    stop_grace_period: 90s
    stop_signal: SIGINT
    init: false
    labels: {l: m}
    healthcheck: {test: [CMD, t], interval: 5s, timeout: 6s, retries: 7, start_period: 8s, start_interval: 1s}
    post_start: [{command: [s], user: "1", environment: {H: "1"}}]
    pre_stop: [{command: [t], privileged: true, working_dir: /}]
    annotations: {n: o}
    logging: {driver: json-file, options: {max-size: 1m}}
    restart: on-failure:3
    platform: linux/arm/v7
    pull_policy: missing
    read_only: true
    privileged: true
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: [no-new-privileges, seccomp=unconfined, apparmor=unconfined, "label=user:u"]
    sysctls: {net.core.somaxconn: 5}
    ulimits: {nofile: {soft: 5, hard: 6}}
    devices: [/dev/kvm]
    device_cgroup_rules: [c 1:3 mr]
    gpus: [{count: all}, {driver: d, device_ids: [g1, g2]}, {device_ids: [g3]}, {driver: d, device_ids: [g4]}]
    shm_size: 1m
    storage_opt: {size: 64m}
    ipc: host
    pid: host
    uts: host
    cgroup: host
    cgroup_parent: /p
    oom_score_adj: 5
    oom_kill_disable: true
    cpus: 1.5
    cpu_shares: 5
    cpuset: 0-1
    mem_limit: 64m
    mem_reservation: 32m
    mem_swappiness: 5
    memswap_limit: 128m
    pids_limit: 9
    blkio_config: {weight: 50, weight_device: [{path: /dev/x, weight: 60}], device_read_bps: [{path: /dev/x, rate: 1m}]}
    ports: [{target: 80, published: "8080", host_ip: 127.0.0.1, protocol: udp, name: p, app_protocol: q}]
    networks: {z: {priority: 5, aliases: [y], mac_address: "02:42:00:00:00:01"}, b: {ipv4_address: 10.1.0.5}}
    dns: [10.0.0.1]
    dns_search: [s]
    dns_opt: [o]
    extra_hosts: ["eh:10.0.0.2"]
    volumes: [v:/v, /h:/h:ro, {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]
    tmpfs: /u:size=2m,noexec
    secrets: [{source: s, target: t, uid: "1", gid: "2", mode: 0400}]
    configs: [{source: c, target: /c}]
  b:
    image: i
    volumes_from: [a]
    network_mode: host
    deploy:
      mode: global
      labels: {skep.drain: 5s}
      endpoint_mode: dnsrr
      update_config: {parallelism: 2, delay: 1s, failure_action: rollback, monitor: 2s, max_failure_ratio: 0.1, order: start-first}
      rollback_config: {parallelism: 0, failure_action: continue}
      resources: {limits: {cpus: 0.5, memory: 32m, pids: 5}, reservations: {cpus: 0.1, memory: 16m, generic_resources: [{discrete_resource_spec: {kind: k, value: 2}}]}}
      restart_policy: {condition: on-failure, delay: 3s, max_attempts: 4, window: 5s}
      placement: {constraints: [node.role==worker], preferences: [{spread: node.labels.r}], max_replicas_per_node: 1}
  c: {image: i, scale: 3, healthcheck: {disable: true}, deploy: {mode: replicated-job}}
volumes: {v: {driver_opts: {o: p}, labels: {l: m}}}
secrets: {s: {content: x}}
configs: {c: {content: "$$text"}}
networks:
  z: {enable_ipv6: true, internal: true, attachable: true, driver_opts: {o: p}, labels: {l: m}}
  b: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1, ip_range: 10.1.0.0/25}]}}
`;

describe("src/stack/translate/stack", () => {
  it("makes the networks that services are in", () => {
    const { networks, externalNetworks } = specsOfText(
      "services: {a: {image: i, networks: [n, e]}}\nnetworks: {n: {internal: true, attachable: true, enable_ipv6: true, driver_opts: {o: 1}, labels: {l: x}, ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1, ip_range: 10.1.0.0/25, aux_addresses: {h: 10.1.0.9}}]}}, e: {external: true}, unused: {}}",
    );
    deepEqual(externalNetworks, ["e"]);
    deepEqual(plain(networks.map(({ body }) => body)), [
      {
        Name: "shop_n",
        Driver: "overlay",
        Options: { o: "1" },
        Internal: true,
        Attachable: true,
        EnableIPv6: true,
        Labels: { l: "x", "com.docker.stack.namespace": "shop" },
        IPAM: {
          Config: [
            {
              Subnet: "10.1.0.0/24",
              Gateway: "10.1.0.1",
              IPRange: "10.1.0.0/25",
              AuxiliaryAddresses: { h: "10.1.0.9" },
            },
          ],
        },
      },
    ]);
  });

  it("reads payloads from files, the file itself, and variables", () => {
    const files = {
      "c.yaml":
        "services: {}\nsecrets: {a: {file: ./f}, b: {environment: V}, e: {external: true}}\nconfigs: {c: {content: 'x ${V}', labels: {l: 1}, template_driver: golang}}",
      f: "data",
    };
    const project = projectOf({ files, environment: { V: "value" } });
    const text = (data: unknown) => Buffer.from(String(data), "base64").toString();
    const { secrets, configs } = specsOf(project);
    deepEqual(
      secrets.map(({ name, body }) => [name, text(body["Data"])]),
      [
        ["shop_a", "data"],
        ["shop_b", "value"],
      ],
    );
    deepEqual(plain(configs[0]?.body), {
      Name: "shop_c",
      Labels: { l: "1", "com.docker.stack.namespace": "shop" },
      Data: Buffer.from("x value").toString("base64"),
      Templating: { Name: "golang" },
    });
  });

  for (const [text, message] of [
    [
      "services: {}\nsecrets: {s: {environment: GONE}}",
      /^compose\.yaml:2:11: secrets\.s: environment variable "GONE" required is not set$/,
    ],
    [
      "services: {}\nconfigs: {s: {file: gone}}",
      /^compose\.yaml:2:11: configs\.s: open \/p\/gone: no such file/,
    ],
  ] as const)
    it(`refuses ${JSON.stringify(text)}`, () =>
      match(
        refusalOf(() => specsOfText(text)),
        message,
      ));

  it("takes over the volumes and folders of other services, its own first", () => {
    const { services } = specsOfText(
      "services:\n  a: {image: i, volumes: ['own:/own'], volumes_from: ['b:ro']}\n  b: {image: i, volumes: ['v:/v', '/h:/h', 'v:/own'], tmpfs: /t, volumes_from: [c]}\n  c: {image: i, volumes: ['w:/w']}\nvolumes: {own: , v: , w: }",
    );
    deepEqual(
      services.map(({ key }) => key),
      ["c", "b", "a"],
    );
    const mounts = plain(services[2]?.body) as {
      TaskTemplate: { ContainerSpec: { Mounts: Record<string, unknown>[] } };
    };
    deepEqual(
      mounts.TaskTemplate.ContainerSpec.Mounts.map(
        ({ Source, Target, ReadOnly }) => `${Source} ${Target} ${ReadOnly ?? false}`,
      ),
      ["shop_own /own false", "shop_v /v true", "/h /h true", "shop_w /w true"],
    );
  });

  it("puts services after those they depend on", () => {
    const { services } = specsOfText(
      "services:\n  a: {image: i, depends_on: {c: {condition: service_healthy}}}\n  b: {image: i}\n  c: {image: i, depends_on: [b]}",
    );
    deepEqual(
      services.map(({ key }) => key),
      ["b", "c", "a"],
    );
    equal(services[2]?.dependsOn["c"]?.condition, "service_healthy");
  });

  it("makes a file of what a file made, and the same of that", () => {
    const first = specsOfText(manyKeys);
    const { project, warnings } = exported({
      stack: "shop",
      services: first.services.map(({ body }) => body),
      networks: first.networks.map(({ body }) => body),
      configs: first.configs.map(({ body }) => ({ Spec: body })),
    });
    deepEqual(warnings, []);
    const second = specsOfText(projectText(project));
    deepEqual(
      second.services.map(({ name }) => name).sort(),
      first.services.map(({ name }) => name).sort(),
    );
    for (const { name, body, resolvesImage } of first.services) {
      const again = second.services.find((one) => one.name === name);
      deepEqual(
        serviceDifferences(body, again?.body ?? {}, (id) => id),
        [],
      );
      equal(again?.resolvesImage, resolvesImage);
    }
    deepEqual(
      plain(second.networks.map(({ body }) => body)),
      plain(first.networks.map(({ body }) => body)),
    );
    deepEqual(second.warnings, []);
  });

  it("says of a network in which tasks do not have the service's name that it is so, and takes that back", () => {
    const [first] = specsOfText("services: {a: {image: i}}").services;
    const task = first?.body["TaskTemplate"] as Record<string, unknown>;
    // As `docker service update --network-add mon` leaves it; nothing has a name in the node's own network.
    const Networks = [
      { Target: "id-mon", Aliases: [] },
      { Target: "shop_default", Aliases: ["a"] },
    ];
    const body = { ...first?.body, TaskTemplate: { ...task, Networks } };
    const { project } = exported({
      ...{ stack: "shop", services: [body], configs: [] },
      networks: [{ Id: "id-mon", Name: "mon" }],
    });
    const text = projectText(project);
    match(text, /x-skep-no-alias:\n +- mon\n/);
    const [again] = specsOfText(text).services;
    const nameOf = (id: string) => (id === "id-mon" ? "mon" : id);
    deepEqual(serviceDifferences(body, again?.body ?? {}, nameOf), []);
    match(projectText(projectOfText(text).model), /x-skep-no-alias:\n +- mon\n/);
    const odd = "services: {a: {image: i, x-skep-no-alias: [gone]}}";
    match(
      refusalOf(() => specsOfText(odd)),
      /services\.a\.x-skep-no-alias: the service is not in network "gone"/,
    );
  });

  it("prints a project that reads as the same project", () => {
    const text =
      "name: shop\nservices:\n  a:\n    image: i\n    command: [echo, $$HOME, 'no', '012', '1e3', '~']\n    entrypoint: null\n    environment: {A: 'x: y', B: , C: \"1\\n2\"}\n    init: false\n    ports: ['80:80', '9:9/udp']\n    volumes: [v:/v, ./b:/b]\n    deploy: {resources: {limits: {memory: 1g}}, update_config: {delay: 90s}}\n    depends_on: [b]\n    ulimits: {nofile: 5}\n    secrets: [{source: s, mode: 0440}]\n  b: {image: i, profiles: [x]}\nvolumes: {v: {}}\nsecrets: {s: {file: ./s}}";
    const first = projectText(projectOfText(text, { profiles: ["x"] }).model);
    const second = projectText(projectOfText(first, { profiles: ["x"] }).model);
    equal(second, first);
    match(first, /\$\$HOME/);
  });
});
