/**
 * One service of a project → the body of `POST /services/create`, equal to what the stock client sends for the same file.
 * Pure.
 */
import type { ComposeDeploy, ComposeService, ComposeUpdate } from "../model.ts";
import { containerSpec, nanoseconds } from "./container.ts";
import {
  type Body,
  imageLabel,
  objectName,
  present,
  type ServiceContext,
  stackLabels,
} from "./context.ts";
import {
  addressLabels,
  attachments,
  endpointSpec,
  protocolLabels,
  publishAddress,
} from "./endpoint.ts";
import { resourceBody } from "./resources.ts";

/** @throws ClusterError invalid-argument with the place of what cannot be. */
export function serviceBody(
  service: ComposeService,
  context: ServiceContext & { readonly readBase64: (path: string, from: string) => string },
): Body {
  const { deploy } = service;
  const address = publishAddress(service, context);
  return present({
    Name: objectName(context.stack, context.key),
    Labels: {
      ...stackLabels(context.stack, {
        ...addressLabels(service, context),
        ...protocolLabels(service),
        ...(address === "" ? {} : { "skep.publish.address": address }),
        ...deploy?.labels,
      }),
      [imageLabel]: service.image,
    },
    TaskTemplate: present({
      ContainerSpec: containerSpec(service, context),
      LogDriver:
        service.logging &&
        present({ Name: service.logging.driver, Options: service.logging.options }),
      Resources: resourceBody(service, context),
      RestartPolicy: restartPolicy(service, context),
      Placement: placement(service, context),
      Networks: attachments(service, context),
      ForceUpdate: 0,
    }),
    EndpointSpec: endpointSpec(service, context),
    Mode: mode(service, context),
    UpdateConfig: update(deploy?.update_config),
    RollbackConfig: update(deploy?.rollback_config),
  });
}

function mode(service: ComposeService, context: ServiceContext): Body {
  const { deploy, scale } = service;
  const kind = deploy?.mode ?? "replicated";
  const path = `${context.path}.deploy`;
  if (scale !== undefined && deploy?.replicas !== undefined && scale !== deploy.replicas)
    throw context.fail(
      `${context.path}.scale`,
      `${context.path}.scale: ${scale} and deploy.replicas ${deploy.replicas} say different things; keep one of them`,
    );
  const replicas = deploy?.replicas ?? scale;
  const isJob = kind === "replicated-job" || kind === "global-job";
  if (isJob && (deploy?.update_config !== undefined || deploy?.rollback_config !== undefined))
    throw context.fail(
      path,
      `${path}: update_config and rollback_config are not supported for mode ${kind}`,
    );
  if (kind.startsWith("global") && replicas !== undefined)
    throw context.fail(
      path,
      `${path}.replicas: replicas can only be used with replicated or replicated-job mode`,
    );
  switch (kind) {
    case "global":
      return { Global: {} };
    case "global-job":
      return { GlobalJob: {} };
    case "replicated-job":
      return { ReplicatedJob: present({ MaxConcurrent: replicas, TotalCompletions: replicas }) };
    default:
      return { Replicated: present({ Replicas: replicas }) };
  }
}

/** `no` is no restart, unlike with the stock client, which drops it. */
function restartPolicy(service: ComposeService, context: ServiceContext): Body | undefined {
  const policy = service.deploy?.restart_policy;
  if (policy !== undefined) {
    if (service.restart !== undefined)
      context.warn(
        `${context.path}.restart`,
        `${context.path}.restart is ignored: deploy.restart_policy says it`,
      );
    return present({
      // What it is when nothing is said, and what a daemon answers then.
      Condition: policy.condition ?? "any",
      Delay: nanoseconds(policy.delay),
      MaxAttempts: policy.max_attempts,
      Window: nanoseconds(policy.window),
    });
  }
  const { restart } = service;
  if (restart === undefined) return undefined;
  if (restart === "no") return { Condition: "none" };
  const [, attempts] = /^on-failure(?::(\d+))?$/.exec(restart) ?? [];
  if (!restart.startsWith("on-failure")) return { Condition: "any" };
  return { Condition: "on-failure", MaxAttempts: Number(attempts ?? 0) };
}

function placement(service: ComposeService, context: ServiceContext): Body {
  const said: ComposeDeploy["placement"] = service.deploy?.placement;
  return present({
    Constraints: said?.constraints,
    Preferences: said?.preferences?.map(({ spread }) => ({ Spread: { SpreadDescriptor: spread } })),
    MaxReplicas: said?.max_replicas_per_node,
    Platforms: service.platform === undefined ? undefined : [platform(service.platform, context)],
  });
}

function platform(text: string, context: ServiceContext): Body {
  const [OS = "", Architecture, Variant] = text.toLowerCase().split("/");
  if (Architecture === undefined || OS === "")
    throw context.fail(
      `${context.path}.platform`,
      `${context.path}.platform: ${JSON.stringify(text)} must be OS/ARCHITECTURE[/VARIANT], such as linux/arm64`,
    );
  return present({ Architecture, OS, Variant });
}

function update(config: ComposeUpdate | undefined): Body | undefined {
  if (config === undefined) return undefined;
  return present({
    Parallelism: config.parallelism ?? 1,
    Delay: nanoseconds(config.delay),
    FailureAction: config.failure_action,
    Monitor: nanoseconds(config.monitor),
    MaxFailureRatio: config.max_failure_ratio,
    Order: config.order,
  });
}
