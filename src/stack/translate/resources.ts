/**
 * Limits and reservations of a service, from `deploy.resources` and from the short keys. Pure.
 */
import { isResourceName, resourceNameWords } from "../../common/spec/resource-names.ts";
import type { ComposeDeviceRequest, ComposeResources, ComposeService } from "../model.ts";
import { type Body, present, type ServiceContext } from "./context.ts";

const cpuPeriodDefaultUs = 100_000;

/** `Resources`. @throws ClusterError where a short key and `deploy` say different things. */
export function resourceBody(service: ComposeService, context: ServiceContext): Body {
  const { limits, reservations } = service.deploy?.resources ?? {};
  const memory = same(context, "mem_limit", { short: service.mem_limit, long: limits?.memory });
  const cpus = same(context, "cpus", {
    short: service.cpus ?? quotaCpus(service, context),
    long: limits?.cpus,
  });
  const pids = same(context, "pids_limit", { short: service.pids_limit, long: limits?.pids });
  const reserved = same(context, "mem_reservation", {
    short: service.mem_reservation,
    long: reservations?.memory,
  });
  const generic = inOrder([...genericBodies(reservations), ...deviceBodies(service, context)]);
  return present({
    Limits: set(
      {
        NanoCPUs: nano(cpus),
        MemoryBytes: memory,
        Pids: pids === undefined || pids < 0 ? undefined : pids,
      },
      limits,
    ),
    Reservations: set(
      {
        NanoCPUs: nano(reservations?.cpus),
        MemoryBytes: reserved,
        GenericResources: generic.length === 0 ? undefined : generic,
      },
      reservations,
    ),
    SwapBytes: swapBytes(service, memory, context),
    MemorySwappiness: service.mem_swappiness,
  });
}

function same(
  context: ServiceContext,
  key: string,
  values: { readonly short: number | undefined; readonly long: number | undefined },
): number | undefined {
  const { short, long } = values;
  if (short !== undefined && long !== undefined && short !== long)
    throw context.fail(
      `${context.path}.${key}`,
      `${context.path}.${key}: ${short} and deploy.resources say different things (${long}); keep one of them`,
    );
  return long ?? short;
}

function set(
  fields: Readonly<Record<string, unknown>>,
  said: ComposeResources | undefined,
): Body | undefined {
  const found = present(fields);
  return Object.keys(found).length === 0 && said === undefined ? undefined : found;
}

function nano(cpus: number | undefined): number | undefined {
  return cpus === undefined ? undefined : Math.round(cpus * 1e9);
}

/** A quota of time is a share of processors. */
function quotaCpus(service: ComposeService, context: ServiceContext): number | undefined {
  const { cpu_quota: quota, cpu_period: period } = service;
  if (quota === undefined || quota <= 0) {
    if (period !== undefined)
      context.warn(
        `${context.path}.cpu_period`,
        `${context.path}.cpu_period is ignored: it has no effect without cpu_quota`,
      );
    return undefined;
  }
  return quota / (period === undefined || period === 0 ? cpuPeriodDefaultUs : period);
}

/** Compose says memory and swap together, the API swap alone. */
function swapBytes(
  service: ComposeService,
  memory: number | undefined,
  context: ServiceContext,
): number | undefined {
  const { memswap_limit: both } = service;
  if (both === undefined || both === 0) return undefined;
  const path = `${context.path}.memswap_limit`;
  if (memory === undefined)
    throw context.fail(
      path,
      `${path}: memory swap provided, but no memory-limit was set; set mem_limit, too`,
    );
  if (both === -1) return -1;
  if (both < memory)
    throw context.fail(
      path,
      `${path} must not be smaller than the memory limit, which is part of it`,
    );
  return both - memory;
}

/** What is counted before what is named, kind by kind, so that a file and its export say the same. */
function inOrder(bodies: readonly Generic[]): readonly Body[] {
  const counted = bodies.filter(({ named }) => named === undefined);
  const named = bodies.filter((body) => body.named !== undefined);
  const kinds = [...new Set(named.map(({ kind }) => kind))];
  const sorted = kinds.flatMap((kind) => named.filter((body) => body.kind === kind));
  return [
    ...counted.map(({ kind, count }) => ({ DiscreteResourceSpec: { Kind: kind, Value: count } })),
    ...sorted.map((body) => ({ NamedResourceSpec: { Kind: body.kind, Value: body.named } })),
  ];
}

/** So many of a kind, or one of it by its name. */
interface Generic {
  readonly kind: string;
  readonly count?: number;
  readonly named?: string;
}

function genericBodies(reservations: ComposeResources | undefined): readonly Generic[] {
  return (reservations?.generic_resources ?? []).flatMap(({ discrete_resource_spec: counted }) =>
    counted === undefined ? [] : [{ kind: counted.kind, count: counted.value }],
  );
}

/** Devices that are asked for by number or by id become generic resources, which nodes declare. */
function deviceBodies(service: ComposeService, context: ServiceContext): readonly Generic[] {
  const asked: readonly (readonly [string, ComposeDeviceRequest])[] = [
    ...(service.gpus ?? []).map(
      (request, i) => [`gpus[${i}]`, { capabilities: ["gpu"], ...request }] as const,
    ),
    ...(service.deploy?.resources?.reservations?.devices ?? []).map(
      (request, i) => [`deploy.resources.reservations.devices[${i}]`, request] as const,
    ),
  ];
  return asked.flatMap(([key, request]) => devicesOf(request, `${context.path}.${key}`, context));
}

function devicesOf(
  request: ComposeDeviceRequest,
  path: string,
  context: ServiceContext,
): readonly Generic[] {
  const { driver, count = 1, capabilities = [], device_ids: ids = [] } = request;
  if (ids.length > 0 && request.count !== undefined)
    throw context.fail(
      path,
      `${path}: "count" and "device_ids" attributes are exclusive; keep one of them`,
    );
  const bad = ids.find((id) => !isResourceName(id));
  if (bad !== undefined)
    throw context.fail(
      path,
      `${path}.device_ids ${JSON.stringify(bad)} is not ${resourceNameWords}`,
    );
  if (!capabilities.includes("gpu"))
    throw context.fail(
      path,
      `${path}.capabilities must name gpu: devices of other kinds are named in devices`,
    );
  if (count === "all")
    context.warn(path, `${path}: count all is taken for 1: the cluster hands out GPUs by number`);
  if (request.options !== undefined)
    context.warn(path, `${path}.options is ignored: drivers of devices are not asked`);
  const kind = driver === undefined || driver === "nvidia" ? "NVIDIA-GPU" : driver;
  if (ids.length > 0) return ids.map((named) => ({ kind, named }));
  return [{ kind, count: count === "all" ? 1 : count }];
}
