/** Tests of src/stack/translate: what a service's keys become in the body of the API. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is read here
import { deepEqual, match } from "node:assert/strict";
import type { Body } from "../../../../src/stack/translate/context.ts";
import { refusalOf, serviceOf } from "../../../support/compose.ts";

const container = (body: Body): Body => (body["TaskTemplate"] as Body)["ContainerSpec"] as Body;
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null));

/** Each key of a container that is not always there. */
function containerOf(lines: string, more = ""): unknown {
  const {
    Image: _image,
    Privileges: privileges,
    Labels: labels,
    ...rest
  } = container(serviceOf(lines, more)) as Record<string, Body>;
  const own = Object.entries(labels ?? {}).filter(([key]) => key !== "com.docker.stack.namespace");
  const isUsual =
    JSON.stringify(privileges) ===
    '{"CredentialSpec":null,"SELinuxContext":null,"NoNewPrivileges":false}';
  return plain({
    ...rest,
    ...(own.length > 0 && { Labels: Object.fromEntries(own) }),
    ...(!isUsual && { Privileges: privileges }),
  });
}

/** What is not the container's, of what is not always there. */
function restOf(lines: string, more = ""): unknown {
  const {
    Name: _name,
    Labels,
    TaskTemplate,
    Mode,
    EndpointSpec,
    ...rest
  } = serviceOf(lines, more) as Record<string, Body>;
  const {
    ContainerSpec: _container,
    ForceUpdate: _force,
    Networks,
    Placement,
    Resources,
    ...task
  } = TaskTemplate ?? {};
  const own = Object.entries(Labels ?? {}).filter(([key]) => !key.startsWith("com.docker.stack."));
  const isEmpty = (value: unknown) => Object.keys(value ?? {}).length === 0;
  return plain({
    ...rest,
    ...task,
    ...(own.length > 0 && { Labels: Object.fromEntries(own) }),
    ...(JSON.stringify(Mode) !== '{"Replicated":{}}' && { Mode }),
    ...(!isEmpty(EndpointSpec) && { EndpointSpec }),
    ...(!isEmpty(Placement) && { Placement }),
    ...(!isEmpty(Resources) && { Resources }),
    ...(JSON.stringify(Networks) !== '[{"Target":"shop_default","Aliases":["a"]}]' && { Networks }),
  });
}

describe("src/stack/translate/container", () => {
  for (const [lines, expected] of [
    ["entrypoint: sh -c 'a b'\ncommand: [x]", { Command: ["sh", "-c", "a b"], Args: ["x"] }],
    ["environment: {B: 1, A: , C: ''}", { Env: ["A", "B=1", "C="] }],
    ["labels: [x=1]", { Labels: { x: "1" } }],
    ["extra_hosts: ['h:1.2.3.4', 'v6=::1']", { Hosts: ["1.2.3.4 h", "::1 v6"] }],
    ["extra_hosts: {h: [1.2.3.4, '::1']}", { Hosts: ["1.2.3.4 h", "::1 h"] }],
    [
      "dns: 1.1.1.1\ndns_search: [a]\ndns_opt: [ndots:2]",
      { DNSConfig: { Nameservers: ["1.1.1.1"], Search: ["a"], Options: ["ndots:2"] } },
    ],
    [
      "healthcheck: {test: curl x, interval: 1s, retries: 2, start_interval: 1s}",
      {
        Healthcheck: {
          Test: ["CMD-SHELL", "curl x"],
          Interval: 1e9,
          StartInterval: 1e9,
          Retries: 2,
        },
      },
    ],
    ["healthcheck: {disable: true}", { Healthcheck: { Test: ["NONE"] } }],
    [
      "stop_grace_period: 1m\nstop_signal: SIGINT\ninit: false\ntty: true\nstdin_open: true\nread_only: true",
      {
        StopGracePeriod: 60e9,
        StopSignal: "SIGINT",
        Init: false,
        TTY: true,
        OpenStdin: true,
        ReadOnly: true,
      },
    ],
    [
      "user: 1000\ngroup_add: [5, dialout]\nworking_dir: /w\nhostname: h",
      { User: "1000", Groups: ["5", "dialout"], Dir: "/w", Hostname: "h" },
    ],
    [
      "cap_add: [net_admin, SYS_TIME]\ncap_drop: [ALL, SYS_TIME]",
      { CapabilityAdd: ["CAP_NET_ADMIN", "CAP_SYS_TIME"], CapabilityDrop: ["ALL"] },
    ],
    [
      "ulimits: {nproc: 5, nofile: {soft: 1, hard: -1}}",
      {
        Ulimits: [
          { Name: "nofile", Soft: 1, Hard: -1 },
          { Name: "nproc", Soft: 5, Hard: 5 },
        ],
      },
    ],
    [
      "sysctls: [net.core.somaxconn=1]\noom_score_adj: -5",
      { Sysctls: { "net.core.somaxconn": "1" }, OomScoreAdj: -5 },
    ],
    [
      "security_opt: ['no-new-privileges:true', 'seccomp:unconfined', 'apparmor=unconfined', 'label:user:u']",
      {
        Privileges: {
          CredentialSpec: null,
          SELinuxContext: { User: "u" },
          Seccomp: { Mode: "unconfined" },
          AppArmor: { Mode: "disabled" },
          NoNewPrivileges: true,
        },
      },
    ],
    [
      "tmpfs: '/run:size=1m,mode=1770,noexec'",
      {
        Mounts: [
          {
            Type: "tmpfs",
            Target: "/run",
            TmpfsOptions: { SizeBytes: 1048576, Mode: 0o1770, Options: [["noexec"]] },
          },
        ],
      },
    ],
    [
      "volumes: ['./x:/x:ro,rshared', '~/y:/y', '/anon']",
      {
        Mounts: [
          {
            Type: "bind",
            Source: "/p/x",
            Target: "/x",
            ReadOnly: true,
            BindOptions: { Propagation: "rshared" },
          },
          { Type: "bind", Source: "/mine/y", Target: "/y" },
          { Type: "volume", Target: "/anon" },
        ],
      },
    ],
    [
      "volumes: [{type: bind, source: /s, target: /t, bind: {create_host_path: true, recursive: disabled}}]",
      {
        Mounts: [
          {
            Type: "bind",
            Source: "/s",
            Target: "/t",
            BindOptions: { CreateMountpoint: true, NonRecursive: true },
          },
        ],
      },
    ],
    [
      "privileged: true\ndevices: ['/dev/kvm', '/dev/a:/dev/b:r']",
      {
        Labels: {
          "skep.privileged": "true",
          "skep.devices": "/dev/kvm:/dev/kvm:rwm,/dev/a:/dev/b:r",
        },
      },
    ],
    [
      "shm_size: 1g\nipc: host\npid: host\ncgroup: host\ncgroup_parent: /x\ndomainname: d",
      {
        Labels: {
          "skep.shm-size": "1073741824",
          "skep.ipc": "host",
          "skep.pid": "host",
          "skep.cgroup": "host",
          "skep.cgroup-parent": "/x",
          "skep.domainname": "d",
        },
      },
    ],
    [
      "cpu_shares: 512\ncpuset: 0-1\nblkio_config: {weight: 300}\noom_kill_disable: true",
      {
        Labels: {
          "skep.cpu-shares": "512",
          "skep.cpuset": "0-1",
          "skep.blkio-weight": "300",
          "skep.oom-kill-disable": "true",
        },
      },
    ],
    [
      "uts: host\nannotations: {a: b}\ndevice_cgroup_rules: ['c 1:3 mr', 'b *:* r']",
      {
        Labels: {
          "skep.uts": "host",
          "skep.device-cgroup-rules": "c 1:3 mr,b *:* r",
          "skep.annotations": '{"a":"b"}',
        },
      },
    ],
    [
      "post_start: [{command: touch /x, user: 5, environment: {A: b}}]\npre_stop: [{command: [rm, /x], privileged: true, working_dir: /}]",
      {
        Labels: {
          "skep.post-start": '[{"command":["touch","/x"],"user":"5","environment":["A=b"]}]',
          "skep.pre-stop": '[{"command":["rm","/x"],"privileged":true,"working_dir":"/"}]',
        },
      },
    ],
    [
      "blkio_config: {weight_device: [{path: /dev/a, weight: 50}], device_read_bps: [{path: /dev/b, rate: 1m}], device_write_iops: [{path: /dev/b, rate: 7}]}",
      {
        Labels: {
          "skep.blkio-devices": "/dev/a:weight=50,/dev/b:read-bps=1048576,/dev/b:write-iops=7",
        },
      },
    ],
    ["storage_opt: {size: 1g}", { Labels: { "skep.storage-size": "1g" } }],
    ["pull_policy: never", { Labels: { "skep.pull": "never" } }],
    ["pull_policy: if_not_present", { Labels: { "skep.pull": "missing" } }],
  ] as const)
    it(`puts ${JSON.stringify(lines)} into the container`, () =>
      deepEqual(containerOf(lines), expected));

  it("names volumes, secrets and configs as the stock client does", () => {
    const more =
      "volumes: {v: {labels: {l: x}, driver: d, driver_opts: {n: 1}}, e: {external: true}, w: {name: own}}\nsecrets: {s: {content: x}, r: {external: {name: real}}}\nconfigs: {c: {content: x}}";
    const stack = { "com.docker.stack.namespace": "shop" };
    const file = (Name: string) => ({ Name, UID: "0", GID: "0", Mode: 0o444 });
    deepEqual(
      containerOf(
        "volumes: [v:/v, e:/e, 'w:/w:nocopy']\nsecrets: [s, {source: r, target: t, mode: 0400}]\nconfigs: [{source: c, target: /c, uid: 5}]",
        more,
      ),
      {
        Mounts: [
          {
            Type: "volume",
            Source: "shop_v",
            Target: "/v",
            VolumeOptions: {
              Labels: { ...stack, l: "x" },
              DriverConfig: { Name: "d", Options: { n: "1" } },
            },
          },
          { Type: "volume", Source: "e", Target: "/e", VolumeOptions: {} },
          {
            Type: "volume",
            Source: "own",
            Target: "/w",
            VolumeOptions: { NoCopy: true, Labels: stack },
          },
        ],
        Secrets: [
          { File: { ...file("t"), Mode: 0o400 }, SecretID: "", SecretName: "real" },
          { File: file("s"), SecretID: "", SecretName: "shop_s" },
        ],
        Configs: [{ File: { ...file("/c"), UID: "5" }, ConfigID: "", ConfigName: "shop_c" }],
      },
    );
  });
});

describe("src/stack/translate/service", () => {
  for (const [lines, expected] of [
    ["restart: 'no'", { RestartPolicy: { Condition: "none" } }],
    ["restart: no", { RestartPolicy: { Condition: "none" } }],
    ["restart: always", { RestartPolicy: { Condition: "any" } }],
    ["restart: unless-stopped", { RestartPolicy: { Condition: "any" } }],
    ["restart: on-failure:4", { RestartPolicy: { Condition: "on-failure", MaxAttempts: 4 } }],
    ["deploy: {restart_policy: {delay: 1s}}", { RestartPolicy: { Condition: "any", Delay: 1e9 } }],
    [
      "deploy: {restart_policy: {condition: none, delay: 2s, max_attempts: 1, window: 1m}}",
      { RestartPolicy: { Condition: "none", Delay: 2e9, MaxAttempts: 1, Window: 60e9 } },
    ],
    ["scale: 3", { Mode: { Replicated: { Replicas: 3 } } }],
    ["deploy: {replicas: 0}", { Mode: { Replicated: { Replicas: 0 } } }],
    ["deploy: {mode: global}", { Mode: { Global: {} } }],
    [
      "deploy: {mode: replicated-job, replicas: 4}",
      { Mode: { ReplicatedJob: { MaxConcurrent: 4, TotalCompletions: 4 } } },
    ],
    ["deploy: {mode: global-job}", { Mode: { GlobalJob: {} } }],
    [
      "deploy: {update_config: {order: start-first, delay: 1s}, rollback_config: {parallelism: 0}}",
      {
        UpdateConfig: { Parallelism: 1, Delay: 1e9, Order: "start-first" },
        RollbackConfig: { Parallelism: 0 },
      },
    ],
    [
      "deploy: {placement: {constraints: [node.role==manager], preferences: [{spread: node.labels.z}], max_replicas_per_node: 2}}",
      {
        Placement: {
          Constraints: ["node.role==manager"],
          Preferences: [{ Spread: { SpreadDescriptor: "node.labels.z" } }],
          MaxReplicas: 2,
        },
      },
    ],
    [
      "platform: linux/arm/v7",
      { Placement: { Platforms: [{ OS: "linux", Architecture: "arm", Variant: "v7" }] } },
    ],
    ["deploy: {labels: {skep.drain: 5s}}", { Labels: { "skep.drain": "5s" } }],
    [
      "ports: ['127.0.0.1:80:80']",
      {
        Labels: { "skep.publish.address": "127.0.0.1" },
        EndpointSpec: {
          Ports: [{ Protocol: "tcp", TargetPort: 80, PublishedPort: 80, PublishMode: "ingress" }],
        },
      },
    ],
    [
      "ports: ['8000-8001:80-81/udp', '[::]:7:7']",
      {
        EndpointSpec: {
          Ports: [
            { Protocol: "tcp", TargetPort: 7, PublishedPort: 7, PublishMode: "ingress" },
            { Protocol: "udp", TargetPort: 80, PublishedPort: 8000, PublishMode: "ingress" },
            { Protocol: "udp", TargetPort: 81, PublishedPort: 8001, PublishMode: "ingress" },
          ],
        },
      },
    ],
    [
      "ports: [{target: 80, app_protocol: http, name: web}]",
      {
        Labels: { "skep.publish.app-protocols": "80/tcp=http" },
        EndpointSpec: {
          Ports: [{ Name: "web", Protocol: "tcp", TargetPort: 80, PublishMode: "ingress" }],
        },
      },
    ],
    ["deploy: {endpoint_mode: dnsrr}", { EndpointSpec: { Mode: "dnsrr" } }],
    ["network_mode: host", { Networks: [{ Target: "host" }] }],
    [
      "logging: {driver: json-file, options: {max-size: 1m, max-file: 2}}",
      { LogDriver: { Name: "json-file", Options: { "max-size": "1m", "max-file": "2" } } },
    ],
    [
      "mem_limit: 50m\nmemswap_limit: 80m\nmem_swappiness: 10\npids_limit: 5\ncpus: 0.5\nmem_reservation: 20m",
      {
        Resources: {
          Limits: { NanoCPUs: 5e8, MemoryBytes: 50 * 2 ** 20, Pids: 5 },
          Reservations: { MemoryBytes: 20 * 2 ** 20 },
          SwapBytes: 30 * 2 ** 20,
          MemorySwappiness: 10,
        },
      },
    ],
    ["cpu_quota: 50000\ncpu_period: 100ms", { Resources: { Limits: { NanoCPUs: 5e8 } } }],
    [
      "mem_limit: 50m\nmemswap_limit: -1",
      { Resources: { Limits: { MemoryBytes: 50 * 2 ** 20 }, SwapBytes: -1 } },
    ],
    [
      "deploy: {resources: {limits: {cpus: '0.5', memory: 1g, pids: 3}, reservations: {cpus: 0.1, generic_resources: [{discrete_resource_spec: {kind: ssd, value: 2}}]}}}",
      {
        Resources: {
          Limits: { NanoCPUs: 5e8, MemoryBytes: 2 ** 30, Pids: 3 },
          Reservations: {
            NanoCPUs: 1e8,
            GenericResources: [{ DiscreteResourceSpec: { Kind: "ssd", Value: 2 } }],
          },
        },
      },
    ],
    [
      "gpus: [{count: 2}]",
      {
        Resources: {
          Reservations: {
            GenericResources: [{ DiscreteResourceSpec: { Kind: "NVIDIA-GPU", Value: 2 } }],
          },
        },
      },
    ],
    [
      "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], driver: amd, count: 1}]}}}",
      {
        Resources: {
          Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: "amd", Value: 1 } }] },
        },
      },
    ],
    [
      "gpus: [{device_ids: [u1, /dev/dri/renderD128]}, {driver: ssd, count: 2}]",
      {
        Resources: {
          Reservations: {
            GenericResources: [
              { DiscreteResourceSpec: { Kind: "ssd", Value: 2 } },
              { NamedResourceSpec: { Kind: "NVIDIA-GPU", Value: "u1" } },
              { NamedResourceSpec: { Kind: "NVIDIA-GPU", Value: "/dev/dri/renderD128" } },
            ],
          },
        },
      },
    ],
  ] as const)
    it(`puts ${JSON.stringify(lines)} into the spec`, () => deepEqual(restOf(lines), expected));

  it("has networks in the order of their priority, and hardware addresses in the options of the driver", () => {
    const more = "networks: {n: {}, m: {}}";
    const option = "com.docker.network.endpoint.macaddress";
    deepEqual(
      restOf(
        "mac_address: 02:42:00:00:00:AA\nnetworks: {m: {driver_opts: {o: 1}, mac_address: '02:42:00:00:00:bb'}, n: {priority: 5}}",
        more,
      ),
      {
        Networks: [
          { Target: "shop_n", Aliases: ["a"], DriverOpts: { [option]: "02:42:00:00:00:aa" } },
          {
            Target: "shop_m",
            Aliases: ["a"],
            DriverOpts: { o: "1", [option]: "02:42:00:00:00:bb" },
          },
        ],
      },
    );
  });

  it("is in the networks it names, under its own name and its aliases", () => {
    const more =
      "networks: {n: , m: {name: own}, e: {external: true}, h: {external: true, name: host}}";
    deepEqual(restOf("networks: {n: {aliases: [x]}, m: {driver_opts: {a: 1}}, e: , h: }", more), {
      Networks: [
        { Target: "e", Aliases: ["a"] },
        { Target: "host" },
        { Target: "own", Aliases: ["a"], DriverOpts: { a: "1" } },
        { Target: "shop_n", Aliases: ["x", "a"] },
      ],
    });
  });

  it("gives a service of one task its fixed addresses", () => {
    const more = "networks: {n: {}}";
    deepEqual(restOf("networks: {n: {ipv4_address: 10.1.0.5, ipv6_address: 'fd00::5'}}", more), {
      Labels: { "skep.address.shop_n.1": "10.1.0.5,fd00::5" },
      Networks: [{ Target: "shop_n", Aliases: ["a"] }],
    });
  });

  for (const [lines, message] of [
    [
      "ports: ['127.0.0.1:80:80', '81:81']",
      /services\.a\.ports: all ports of a service answer at the same address of the host, not at 127\.0\.0\.1 and all$/,
    ],
    [
      "ports: ['8000-8010:80']",
      /services\.a\.ports\[0\]: one port of the range 8000-8010 cannot be chosen/,
    ],
    ["network_mode: service:b", /network_mode "service:b" is not supported: .*use networks$/],
    ["pid: container:b", /services\.a\.pid "container:b" is not supported: .*host is$/],
    [
      "scale: 2\ndeploy: {replicas: 3}",
      /services\.a\.scale: 2 and deploy\.replicas 3 say different things/,
    ],
    [
      "mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g}}}",
      /mem_limit: 1073741824 and deploy\.resources say different things/,
    ],
    ["memswap_limit: 1g", /memory swap provided, but no memory-limit was set/],
    [
      "deploy: {mode: global, replicas: 2}",
      /replicas can only be used with replicated or replicated-job mode/,
    ],
    [
      "deploy: {mode: replicated-job, update_config: {}}",
      /update_config and rollback_config are not supported for mode replicated-job/,
    ],
    ["healthcheck: {disable: true, test: x}", /test and disable can't be set at the same time/],
    [
      "security_opt: [systempaths=unconfined]",
      /"systempaths=unconfined" is not supported: no-new-privileges, seccomp/,
    ],
    ["platform: arm64", /"arm64" must be OS\/ARCHITECTURE/],
    ["mac_address: 02:42:00:00:00:01\nscale: 2", /several tasks cannot have one mac_address/],
    ["volumes_from: [b]", /volumes_from\[0\]: undefined service "b"/],
    ["volumes_from: [a]", /dependency cycle detected: a -> a/],
    ["tmpfs: [run]", /"run" must be an absolute path/],
    [
      "gpus: [{device_ids: ['0']}]",
      /gpus\[0\]\.device_ids "0" is not a name that a node can declare with --node-generic-resource/,
    ],
    [
      "gpus: [{device_ids: [u1], count: 2}]",
      /gpus\[0\]: "count" and "device_ids" attributes are exclusive; keep one of them/,
    ],
    [
      "networks: {default: {ipv4_address: 10.0.0.5}}\ndeploy: {replicas: 2}",
      /several tasks cannot have one address/,
    ],
  ] as const)
    it(`refuses ${JSON.stringify(lines)} with its place`, () => {
      const message_ = refusalOf(() => serviceOf(lines));
      match(message_, /^compose\.yaml:\d+:\d+: /);
      match(message_, message);
    });
});
