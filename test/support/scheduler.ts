/**
 * Nodes, services and tasks for tests of the scheduler, from few words.
 */
import {
  ContainerSpec,
  Endpoint,
  EngineDescription,
  type GenericResource,
  Node,
  type NodeAvailability,
  NodeDescription,
  NodeSpec,
  type NodeState,
  NodeStatus,
  type Platform,
  PortConfig,
  ResourceRequirements,
  Resources,
  Service,
  ServiceImage,
  ServiceSpec,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
} from "../../src/common/api/generated/api.ts";
import { parsePlatform } from "../../src/common/platform/match.ts";

/** What a test says of a node. */
export interface NodeParts {
  readonly id: string;
  readonly cpus?: number;
  readonly memoryMb?: number;
  readonly generic?: readonly GenericResource[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly engineLabels?: Readonly<Record<string, string>>;
  /** As `linux/arm/v7`, emulated ones with a `*` behind; amd64 v3 unless told. */
  readonly platforms?: readonly string[];
  readonly state?: NodeState;
  readonly availability?: NodeAvailability;
  readonly plugins?: readonly { readonly type: string; readonly name: string }[];
}

/** A node, ready for tasks unless told. */
export function aNode(parts: NodeParts): Node {
  const { id, cpus = 4, memoryMb = 4_096, generic = [], labels = {}, engineLabels = {} } = parts;
  const platforms = (parts.platforms ?? ["linux/amd64/v3"]).map(aPlatform);
  return Node.create({
    id,
    spec: NodeSpec.create({
      annotations: { name: "", labels },
      availability: parts.availability ?? "active",
    }),
    status: NodeStatus.create({ state: parts.state ?? "ready", address: "10.0.0.1" }),
    description: NodeDescription.create({
      hostname: id,
      platform: platforms[0],
      platforms,
      resources: Resources.create({
        nanoCpus: cpus * 1e9,
        memoryBytes: memoryMb * 2 ** 20,
        generic,
      }),
      engine: EngineDescription.create({ labels: engineLabels, plugins: parts.plugins ?? [] }),
    }),
  });
}

/** A platform from `os/architecture[/variant][*]`. */
export function aPlatform(text: string): Platform {
  const emulated = text.endsWith("*");
  return { ...parsePlatform(emulated ? text.slice(0, -1) : text), emulated };
}

/** What a test says of a service, or of tasks without one. */
export interface WorkParts {
  readonly cpus?: number;
  readonly memoryMb?: number;
  readonly generic?: readonly GenericResource[];
  readonly constraints?: readonly string[];
  readonly spread?: readonly string[];
  /** Platforms the spec itself names, as the docker client does. */
  readonly specPlatforms?: readonly string[];
  readonly maxReplicas?: number;
  readonly image?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** A task spec. */
export function aTaskSpec(parts: WorkParts): TaskSpec {
  const { cpus = 0, memoryMb = 0, generic = [] } = parts;
  return TaskSpec.create({
    container: ContainerSpec.create({ image: parts.image ?? "app" }),
    resources: ResourceRequirements.create({
      reservations: Resources.create({
        nanoCpus: cpus * 1e9,
        memoryBytes: memoryMb * 2 ** 20,
        generic,
      }),
    }),
    placement: {
      constraints: parts.constraints ?? [],
      preferences: (parts.spread ?? []).map((spreadOver) => ({ spreadOver })),
      platforms: (parts.specPlatforms ?? []).map(aPlatform),
      maxReplicas: parts.maxReplicas ?? 0,
    },
  });
}

/** A service with what is known of its image. */
export function aService(
  id: string,
  parts: WorkParts & { readonly platforms?: readonly string[] } = {},
): Service {
  const reference = parts.image ?? "app";
  const image =
    parts.platforms === undefined
      ? ServiceImage.create({ reference, error: "the registry does not answer" })
      : ServiceImage.create({
          reference,
          digest: "sha256:1",
          platforms: parts.platforms.map(aPlatform),
        });
  return Service.create({
    id,
    specVersion: 1,
    spec: ServiceSpec.create({
      annotations: { name: id, labels: parts.labels ?? {} },
      task: aTaskSpec(parts),
    }),
    image,
  });
}

/** What a test says of a task. */
export interface TaskParts {
  readonly id: string;
  readonly service?: Service;
  readonly spec?: TaskSpec;
  readonly slot?: number;
  readonly nodeId?: string;
  readonly state?: TaskState;
  readonly desired?: TaskState;
  readonly error?: string;
  readonly atMs?: number;
  readonly hostPorts?: readonly number[];
  readonly generic?: readonly GenericResource[];
}

/** A task, waiting for a node unless told. */
export function aTask(parts: TaskParts): Task {
  const { id, service, hostPorts = [], generic = [] } = parts;
  const ports = hostPorts.map((publishedPort) =>
    PortConfig.create({ publishedPort, targetPort: 80, publishMode: "host" }),
  );
  return Task.create({
    id,
    serviceId: service?.id ?? "",
    specVersion: service?.specVersion,
    slot: parts.slot ?? 0,
    nodeId: parts.nodeId ?? "",
    spec: service?.spec?.task ?? parts.spec,
    serviceAnnotations: service?.spec?.annotations,
    desiredState: parts.desired ?? "running",
    status: TaskStatus.create({
      state: parts.state ?? "pending",
      error: parts.error ?? "",
      timestampMs: parts.atMs ?? 0,
    }),
    endpoint: ports.length === 0 ? undefined : Endpoint.create({ ports }),
    assignedGeneric: generic,
  });
}
