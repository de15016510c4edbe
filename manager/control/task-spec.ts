/**
 * What a task spec must satisfy before it is stored (docker-facts 1.4, 1.8, 1.10). Pure; looks at the spec alone.
 *
 * Texts are those of Docker's manager, which users and scripts look for.
 */
import {
  type Annotations,
  type ContainerSpec,
  type GenericResource,
  type HealthConfig,
  type Mount,
  type NetworkAttachmentConfig,
  type Placement,
  type ResourceRequirements,
  type Resources,
  type RestartPolicy,
  Task,
  type TaskSpec,
} from "../../src/common/api/generated/api.ts";
import { ClusterError } from "../../src/common/errors/cluster-error.ts";
import { isImageReference } from "../../src/common/spec/image-reference.ts";
import { isMacAddress, macAddressOption } from "../../src/common/spec/mac-address.ts";
import { isResourceName, resourceNameWords } from "../../src/common/spec/resource-names.ts";
import { fillIn, placeholderValues } from "../../src/common/task/filled.ts";
import { parseConstraints } from "../constraint/parse.ts";
import { invalid } from "./names.ts";

/** One thousandth of a CPU; less cannot be accounted. */
const nanoCpusMin = 1e6;
/** Less than 4 MiB does not start a process. */
const memoryBytesMin = 4 * 1024 * 1024;
/** Checks cannot run more often. */
const healthDurationNsMin = 1e6;

/**
 * @param of Of the service, whose labels placeholders may name.
 * @throws ClusterError `invalid-argument`, for constraints `unknown`, with Docker's text.
 */
export function checkTaskSpec(spec: TaskSpec | undefined, of: Annotations | undefined): void {
  checkRequirements(spec?.resources);
  checkRestart(spec?.restart);
  checkPlacement(spec?.placement);
  checkReferences(spec?.container);
  checkMacAddresses(spec?.networks ?? []);
  if (spec?.container === undefined) {
    if (spec?.attachment === undefined && spec?.plugin === undefined)
      throw invalid("TaskSpec: missing runtime");
    throw new ClusterError("unimplemented", "RuntimeSpec: unimplemented runtime in service spec");
  }
  checkContainer(spec.container);
  checkPlaceholders(spec.container, of);
}

function checkRequirements(requirements: ResourceRequirements | undefined): void {
  checkResources(requirements?.limits);
  checkResources(requirements?.reservations);
  const swappiness = requirements?.memorySwappiness;
  if (swappiness !== undefined && (swappiness < -1 || swappiness > 100))
    throw invalid(`invalid memory swappiness ${swappiness}: Must be between -1 and 100`);
}

function checkResources(resources: Resources | undefined): void {
  if (resources === undefined) return;
  const { nanoCpus, memoryBytes } = resources;
  if (nanoCpus !== 0 && nanoCpus < nanoCpusMin)
    throw invalid(`invalid cpu value ${nanoCpus / 1e9}: Must be at least ${nanoCpusMin / 1e9}`);
  if (memoryBytes !== 0 && memoryBytes < memoryBytesMin)
    throw invalid(`invalid memory value ${memoryBytes}: Must be at least 4MiB`);
  const named = new Set<string>();
  for (const generic of resources.generic) {
    checkGeneric(generic);
    if (generic.named === "") continue;
    const key = `${generic.kind}=${generic.named}`;
    if (named.has(key)) throw invalid(`generic resource ${key} is asked for twice; name it once`);
    named.add(key);
  }
}

function checkGeneric({ kind, named, count }: GenericResource): void {
  if (kind === "") throw invalid("generic resource: a kind must be given");
  if (named !== "") {
    if (isResourceName(named)) return;
    throw invalid(`generic resource ${kind}: ${JSON.stringify(named)} is not ${resourceNameWords}`);
  }
  if (count <= 0) throw invalid(`generic resource ${kind}: the count must be at least 1`);
}

function checkRestart(policy: RestartPolicy | undefined): void {
  if ((policy?.delayNs ?? 0) < 0) throw invalid("TaskSpec: restart-delay cannot be negative");
  if ((policy?.windowNs ?? 0) < 0) throw invalid("TaskSpec: restart-window cannot be negative");
}

function checkPlacement(placement: Placement | undefined): void {
  if (placement !== undefined) parseConstraints(placement.constraints);
}

/** Addresses of devices go as an option of the network's driver, of which nodes take those alone that can be. */
function checkMacAddresses(networks: readonly NetworkAttachmentConfig[]): void {
  for (const [i, { driverOptions }] of networks.entries()) {
    const text = driverOptions[macAddressOption];
    if (text !== undefined && !isMacAddress(text))
      throw invalid(
        `invalid MAC address: Networks[${i}].DriverOpts ${macAddressOption}=${text} is none of one device; give one such as 02:42:ac:11:00:02`,
      );
  }
}

function checkReferences(container: ContainerSpec | undefined): void {
  if (container === undefined) return;
  checkTargets(
    "secret",
    container.secrets.map((reference) => ({
      id: reference.secretId,
      name: reference.secretName,
      file: reference.file?.name,
      other: false,
    })),
  );
  checkTargets(
    "config",
    container.configs.map((reference) => ({
      id: reference.configId,
      name: reference.configName,
      file: reference.file?.name,
      other: reference.runtime,
    })),
  );
  const used = container.privileges?.credentialSpec?.config ?? "";
  const given = container.configs.some((config) => config.runtime && config.configId === used);
  if (used !== "" && !given)
    throw invalid(
      `CredentialSpec references config '${used}', but that config isn't in config references with RuntimeTarget`,
    );
}

/** A reference to a secret or config: `file` is where it is to appear, `other` that it is no file. */
interface Target {
  readonly id: string;
  readonly name: string;
  readonly file: string | undefined;
  readonly other: boolean;
}

function checkTargets(kind: "secret" | "config", targets: readonly Target[]): void {
  const nameOfFile = new Map<string, string>();
  for (const { id, name, file, other } of targets) {
    if (id === "" || name === "") throw invalid(`malformed ${kind} reference`);
    if (file === undefined) {
      if (other) continue;
      throw invalid(`malformed ${kind} reference, no target provided`);
    }
    if (file === "")
      throw invalid(`malformed file ${kind} reference, invalid target file name provided`);
    const before = nameOfFile.get(file);
    if (before !== undefined)
      throw invalid(
        `${kind} references '${before}' and '${name}' have a conflicting target: '${file}'`,
      );
    nameOfFile.set(file, name);
  }
}

function checkContainer(container: ContainerSpec): void {
  if (container.image === "") throw invalid("ContainerSpec: image reference must be provided");
  if (!isImageReference(container.image))
    throw invalid(
      `ContainerSpec: ${JSON.stringify(container.image)} is not a valid repository/tag`,
    );
  checkMounts(container.mounts);
  checkHealth(container.health);
  if ((container.stopGracePeriodNs ?? 0) < 0)
    throw invalid("ContainerSpec: stop-grace-period cannot be negative");
}

/** Whether placeholders mean something: any task on any node would do. */
function checkPlaceholders(container: ContainerSpec, of: Annotations | undefined): void {
  const node = { id: "id", hostname: "host", architecture: "amd64", os: "linux" };
  fillIn(container, placeholderValues(Task.create({ serviceAnnotations: of }), node, "task"));
}

function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>();
  for (const { target } of mounts) {
    if (targets.has(target)) throw invalid(`ContainerSpec: duplicate mount point: ${target}`);
    targets.add(target);
  }
}

function checkHealth(health: HealthConfig | undefined): void {
  if (health === undefined) return;
  const durations = [
    ["Interval", health.intervalNs],
    ["Timeout", health.timeoutNs],
    ["StartPeriod", health.startPeriodNs],
    ["StartInterval", health.startIntervalNs],
  ] as const;
  for (const [name, ns] of durations)
    if (ns !== 0 && ns < healthDurationNsMin)
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
}
