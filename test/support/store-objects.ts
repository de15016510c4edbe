/**
 * Small objects for tests of the store, complete enough for its indexes and rules.
 */
import {
  Config,
  ConfigSpec,
  Endpoint,
  EndpointSpec,
  Network,
  NetworkAttachment,
  NetworkSpec,
  Node,
  NodeCertificate,
  NodeDescription,
  PortConfig,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  type TaskState,
  TaskStatus,
  VirtualIp,
} from "../../src/common/api/generated/api.ts";

/** A config with a name and data. */
export function config(id: string, name = id, data = "x"): Config {
  const annotations = { name, labels: {} };
  return Config.create({ id, spec: ConfigSpec.create({ annotations, data: Buffer.from(data) }) });
}

/** A network with its number. */
export function network(id: string, networkNumber = 0, name = id): Network {
  const spec = NetworkSpec.create({ annotations: { name, labels: {} } });
  return Network.create({ id, networkNumber, spec });
}

/** A node with its number. */
export function node(id: string, number = 0, hostname = id): Node {
  return Node.create({
    id,
    number,
    description: NodeDescription.create({ hostname }),
    certificate: NodeCertificate.create({ notAfterMs: 99_000 }),
  });
}

/** What a test says of a service. */
export interface ServiceParts {
  readonly id: string;
  readonly name?: string;
  /** Ports the spec publishes. */
  readonly ports?: readonly Partial<PortConfig>[];
  /** Ports the allocator gave. */
  readonly allocated?: readonly Partial<PortConfig>[];
  /** Virtual IPs, as network id and address. */
  readonly vips?: readonly (readonly [string, string])[];
  readonly image?: string;
}

/** A service. */
export function service(parts: ServiceParts): Service {
  const { id, name = id, ports = [], allocated = [], vips = [], image = "app" } = parts;
  return Service.create({
    id,
    specVersion: 1,
    spec: ServiceSpec.create({
      annotations: { name, labels: {} },
      task: taskSpec(image),
      endpoint: EndpointSpec.create({ ports: ports.map((port) => PortConfig.create(port)) }),
    }),
    endpoint: Endpoint.create({
      ports: allocated.map((port) => PortConfig.create(port)),
      virtualIps: vips.map(([networkId, address]) => VirtualIp.create({ networkId, address })),
    }),
  });
}

/** A task spec of an image. */
export function taskSpec(image: string): TaskSpec {
  return TaskSpec.create({
    runtime: image,
    networks: [{ target: "net", aliases: [image], driverOptions: {}, addresses: [] }],
  });
}

/** What a test says of a task. */
export interface TaskParts {
  readonly id: string;
  readonly serviceId?: string;
  readonly slot?: number;
  readonly nodeId?: string;
  readonly specVersion?: number;
  readonly besideId?: string;
  readonly jobIteration?: number;
  readonly desired?: TaskState;
  readonly state?: TaskState;
  /** Attachments, as network id and address. */
  readonly addresses?: readonly (readonly [string, string])[];
  readonly image?: string;
}

/** A task. */
export function task(parts: TaskParts): Task {
  const { id, serviceId = "", slot = 0, nodeId = "", addresses = [], image = "app" } = parts;
  return Task.create({
    id,
    serviceId,
    slot,
    nodeId,
    specVersion: parts.specVersion ?? 1,
    besideId: parts.besideId ?? "",
    jobIteration: parts.jobIteration,
    desiredState: parts.desired ?? "running",
    status: TaskStatus.create({ state: parts.state ?? "new", message: "made" }),
    spec: taskSpec(image),
    networks: addresses.map(([networkId, address]) =>
      NetworkAttachment.create({ networkId, addresses: [address] }),
    ),
  });
}
