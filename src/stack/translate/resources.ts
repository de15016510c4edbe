/**
 * Limits and reservations of a service, from `deploy.resources` and from the short keys. Pure.
 */
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
  const generic = [...genericBodies(reservations), ...deviceBodies(service, context)];
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

function genericBodies(reservations: ComposeResources | undefined): readonly Body[] {
  return (reservations?.generic_resources ?? []).flatMap(({ discrete_resource_spec: counted }) =>
    counted === undefined
      ? []
      : [{ DiscreteResourceSpec: { Kind: counted.kind, Value: counted.value } }],
  );
}

/** Devices that are asked for by number become generic resources, which nodes declare. */
function deviceBodies(service: ComposeService, context: ServiceContext): readonly Body[] {
  const asked: readonly (readonly [string, ComposeDeviceRequest])[] = [
    ...(service.gpus ?? []).map(
      (request, i) => [`gpus[${i}]`, { capabilities: ["gpu"], ...request }] as const,
    ),
    ...(service.deploy?.resources?.reservations?.devices ?? []).map(
      (request, i) => [`deploy.resources.reservations.devices[${i}]`, request] as const,
    ),
  ];
  return asked.map(([key, request]) => deviceBody(request, `${context.path}.${key}`, context));
}

function deviceBody(request: ComposeDeviceRequest, path: string, context: ServiceContext): Body {
  const { driver, count = 1, capabilities = [] } = request;
  if (request.device_ids !== undefined)
    throw context.fail(
      path,
      `${path}.device_ids is not supported: the cluster chooses which; give a count`,
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
  return { DiscreteResourceSpec: { Kind: kind, Value: count === "all" ? 1 : count } };
}
