/**
 * A project in its one form: what `schema.ts` reads every spelling of a Compose file into, `config` prints, and
 * `translate` turns into specs. Sizes are bytes, times texts such as `1m30s`.
 */

/** Text by name. */
export type Texts = Readonly<Record<string, string>>;

/** A published port; `published` is one port or a range `8000-8010`. */
export interface ComposePort {
  readonly target: number;
  readonly published?: string;
  readonly host_ip?: string;
  readonly protocol: string;
  readonly mode: string;
  readonly name?: string;
  readonly app_protocol?: string;
}

/** A mount. */
export interface ComposeMount {
  readonly type: "bind" | "volume" | "tmpfs" | "npipe" | "cluster" | "image";
  readonly source?: string;
  readonly target: string;
  readonly read_only?: boolean;
  readonly consistency?: string;
  readonly bind?: {
    readonly propagation?: string;
    readonly create_host_path?: boolean;
    readonly recursive?: string;
    readonly selinux?: string;
  };
  readonly volume?: {
    readonly nocopy?: boolean;
    readonly subpath?: string;
    readonly labels?: Texts;
  };
  readonly tmpfs?: {
    readonly size?: number;
    readonly mode?: number;
    readonly options?: readonly string[];
  };
  readonly image?: { readonly subpath?: string };
}

/** A secret or config as a service uses it. */
export interface ComposeGrant {
  readonly source: string;
  readonly target?: string;
  readonly uid?: string;
  readonly gid?: string;
  readonly mode?: number;
}

/** A network as a service uses it. */
export interface ComposeAttachment {
  readonly aliases?: readonly string[];
  readonly ipv4_address?: string;
  readonly ipv6_address?: string;
  readonly driver_opts?: Texts;
  readonly mac_address?: string;
  readonly priority?: number;
}

/** What a service waits for. */
export interface ComposeDependency {
  readonly condition: "service_started" | "service_healthy" | "service_completed_successfully";
  readonly required: boolean;
  readonly restart?: boolean;
}

/** How updates and rollbacks go. */
export interface ComposeUpdate {
  readonly parallelism?: number;
  readonly delay?: string;
  readonly failure_action?: string;
  readonly monitor?: string;
  readonly max_failure_ratio?: number;
  readonly order?: string;
}

/** A device that is asked for by what it can do. */
export interface ComposeDeviceRequest {
  readonly capabilities?: readonly string[];
  readonly driver?: string;
  readonly count?: number | "all";
  readonly device_ids?: readonly string[];
  readonly options?: Texts;
}

/** Limits or reservations. */
export interface ComposeResources {
  readonly cpus?: number;
  readonly memory?: number;
  readonly pids?: number;
  readonly generic_resources?: readonly {
    readonly discrete_resource_spec?: { readonly kind: string; readonly value: number };
  }[];
  readonly devices?: readonly ComposeDeviceRequest[];
}

/** How and where a service runs. */
export interface ComposeDeploy {
  readonly mode?: string;
  readonly replicas?: number;
  readonly labels?: Texts;
  readonly endpoint_mode?: string;
  readonly update_config?: ComposeUpdate;
  readonly rollback_config?: ComposeUpdate;
  readonly resources?: {
    readonly limits?: ComposeResources;
    readonly reservations?: ComposeResources;
  };
  readonly restart_policy?: {
    readonly condition?: string;
    readonly delay?: string;
    readonly max_attempts?: number;
    readonly window?: string;
  };
  readonly placement?: {
    readonly constraints?: readonly string[];
    readonly preferences?: readonly { readonly spread: string }[];
    readonly max_replicas_per_node?: number;
  };
}

/** A health check. */
export interface ComposeHealth {
  readonly test?: readonly string[];
  readonly interval?: string;
  readonly timeout?: string;
  readonly retries?: number;
  readonly start_period?: string;
  readonly start_interval?: string;
  readonly disable?: boolean;
}

/** A device of the node. */
export interface ComposeDevice {
  readonly source: string;
  readonly target: string;
  readonly permissions: string;
}

/** A command that is run in a container. */
export interface ComposeHook {
  readonly command: readonly string[];
  readonly user?: string;
  readonly privileged?: boolean;
  readonly working_dir?: string;
  readonly environment?: Readonly<Record<string, string | null>>;
}

/** How much a second of a block device. */
export interface ComposeRate {
  readonly path: string;
  readonly rate: number;
}

/** A service. */
export interface ComposeService {
  readonly image?: string;
  readonly command?: readonly string[] | null;
  readonly entrypoint?: readonly string[] | null;
  readonly environment?: Readonly<Record<string, string | null>>;
  readonly env_file?: readonly {
    readonly path: string;
    readonly required: boolean;
    readonly format?: string;
  }[];
  readonly labels?: Texts;
  readonly label_file?: readonly string[];
  readonly working_dir?: string;
  readonly user?: string;
  readonly group_add?: readonly string[];
  readonly hostname?: string;
  readonly domainname?: string;
  readonly tty?: boolean;
  readonly stdin_open?: boolean;
  readonly stop_grace_period?: string;
  readonly stop_signal?: string;
  readonly init?: boolean;
  readonly read_only?: boolean;
  readonly isolation?: string;
  readonly sysctls?: Texts;
  readonly cap_add?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly ulimits?: Readonly<Record<string, { readonly soft: number; readonly hard: number }>>;
  readonly oom_score_adj?: number;
  readonly oom_kill_disable?: boolean;
  readonly dns?: readonly string[];
  readonly dns_search?: readonly string[];
  readonly dns_opt?: readonly string[];
  readonly extra_hosts?: readonly string[];
  readonly healthcheck?: ComposeHealth;
  readonly post_start?: readonly ComposeHook[];
  readonly pre_stop?: readonly ComposeHook[];
  readonly annotations?: Texts;
  readonly logging?: { readonly driver?: string; readonly options?: Texts };
  readonly ports?: readonly ComposePort[];
  readonly networks?: Readonly<Record<string, ComposeAttachment>>;
  readonly network_mode?: string;
  /** Networks in which its tasks do not have the key of the service as a name, which the specification always gives. */
  readonly "x-skep-no-alias"?: readonly string[];
  readonly mac_address?: string;
  readonly volumes?: readonly ComposeMount[];
  readonly volumes_from?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly shm_size?: number;
  readonly storage_opt?: Texts;
  readonly secrets?: readonly ComposeGrant[];
  readonly configs?: readonly ComposeGrant[];
  readonly depends_on?: Readonly<Record<string, ComposeDependency>>;
  readonly deploy?: ComposeDeploy;
  readonly devices?: readonly ComposeDevice[];
  readonly device_cgroup_rules?: readonly string[];
  readonly gpus?: readonly ComposeDeviceRequest[];
  readonly privileged?: boolean;
  readonly restart?: string;
  readonly scale?: number;
  readonly platform?: string;
  readonly pull_policy?: string;
  readonly profiles?: readonly string[];
  readonly cpus?: number;
  readonly cpu_shares?: number;
  readonly cpu_period?: number;
  readonly cpu_quota?: number;
  readonly cpuset?: string;
  readonly mem_limit?: number;
  readonly mem_reservation?: number;
  readonly mem_swappiness?: number;
  readonly memswap_limit?: number;
  readonly pids_limit?: number;
  readonly blkio_config?: {
    readonly weight?: number;
    readonly weight_device?: readonly { readonly path: string; readonly weight: number }[];
    readonly device_read_bps?: readonly ComposeRate[];
    readonly device_read_iops?: readonly ComposeRate[];
    readonly device_write_bps?: readonly ComposeRate[];
    readonly device_write_iops?: readonly ComposeRate[];
  };
  readonly ipc?: string;
  readonly pid?: string;
  readonly uts?: string;
  readonly cgroup?: string;
  readonly cgroup_parent?: string;
}

/** A network of the project. */
export interface ComposeNetwork {
  readonly name?: string;
  readonly external?: boolean;
  readonly driver?: string;
  readonly driver_opts?: Texts;
  readonly attachable?: boolean;
  readonly internal?: boolean;
  readonly enable_ipv6?: boolean;
  readonly labels?: Texts;
  readonly ipam?: {
    readonly driver?: string;
    readonly options?: Texts;
    readonly config?: readonly {
      readonly subnet?: string;
      readonly ip_range?: string;
      readonly gateway?: string;
      readonly aux_addresses?: Texts;
    }[];
  };
}

/** A volume of the project. */
export interface ComposeVolume {
  readonly name?: string;
  readonly external?: boolean;
  readonly driver?: string;
  readonly driver_opts?: Texts;
  readonly labels?: Texts;
}

/** A secret or config of the project. */
export interface ComposePayload {
  readonly name?: string;
  readonly external?: boolean;
  readonly file?: string;
  readonly environment?: string;
  readonly content?: string;
  readonly labels?: Texts;
  readonly driver?: string;
  readonly driver_opts?: Texts;
  readonly template_driver?: string;
}

/** A whole project. */
export interface ComposeProject {
  readonly name?: string;
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly networks: Readonly<Record<string, ComposeNetwork>>;
  readonly volumes: Readonly<Record<string, ComposeVolume>>;
  readonly secrets: Readonly<Record<string, ComposePayload>>;
  readonly configs: Readonly<Record<string, ComposePayload>>;
}
