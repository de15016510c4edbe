/**
 * The values a service has where its spec is silent (docker-facts 1.4, 1.8 and section 2). Pure.
 *
 * Stored specs stay as the user wrote them; whoever acts on a spec, and `insertDefaults=true` of the API, fill it here.
 */
import {
  type ContainerSpec,
  DnsConfig,
  Placement,
  PullOptions,
  ResourceRequirements,
  RestartPolicy,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from "../api/generated/api.ts";

/** Wait between a task's end and its successor's start. */
export const restartDelayNs = 5e9;
/** How long an updated task is watched for failure. */
export const updateMonitorNs = 5e9;
/** Time from the stop signal to the kill. */
export const stopGracePeriodNs = 10e9;

/** A copy of the spec with every default filled in. */
export function withServiceDefaults(spec: ServiceSpec): ServiceSpec {
  const task = withTaskDefaults(spec.task ?? TaskSpec.create());
  // Jobs have no update: a client that sent the defaults back would be refused.
  const { replicatedJob, globalJob } = spec.mode ?? {};
  if (replicatedJob !== undefined || globalJob !== undefined)
    return ServiceSpec.create({ ...spec, task });
  return ServiceSpec.create({
    ...spec,
    task,
    update: withUpdateDefaults(spec.update),
    rollback: withUpdateDefaults(spec.rollback),
  });
}

/** A copy of the task spec with every default filled in. */
export function withTaskDefaults(task: TaskSpec): TaskSpec {
  const restart = task.restart ?? RestartPolicy.create({ condition: "any" });
  return TaskSpec.create({
    ...task,
    container: task.container && withContainerDefaults(task.container),
    resources: task.resources ?? ResourceRequirements.create(),
    restart: { ...restart, delayNs: restart.delayNs ?? restartDelayNs },
    placement: task.placement ?? Placement.create(),
  });
}

function withContainerDefaults(container: ContainerSpec): ContainerSpec {
  return {
    ...container,
    stopGracePeriodNs: container.stopGracePeriodNs ?? stopGracePeriodNs,
    pull: container.pull ?? PullOptions.create(),
    dns: container.dns ?? DnsConfig.create(),
  };
}

function withUpdateDefaults(config: UpdateConfig | undefined): UpdateConfig {
  if (config === undefined)
    return UpdateConfig.create({
      parallelism: 1,
      failureAction: "pause",
      monitorNs: updateMonitorNs,
      order: "stop-first",
    });
  return { ...config, monitorNs: config.monitorNs ?? updateMonitorNs };
}
