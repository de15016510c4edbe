/**
 * The container of a task: the Engine API's `ContainerSpec` ↔ `ContainerSpec` of the schema.
 *
 * Pure. Registry credentials (`pull`) never appear in the JSON. Fields of Windows only are kept as text.
 */
import {
  ConfigReference,
  ContainerSpec,
  DnsConfig,
  FileTarget,
  HealthConfig,
  SecretReference,
  Ulimit,
} from "../../common/api/generated/api.ts";
import {
  flagOrNothing,
  type Json,
  listOrNothing,
  mapOrNothing,
  numberOrNothing,
  textOrNothing,
} from "./common.ts";
import { mountFromJson, mountToJson } from "./mount.ts";
import { privilegesFromJson, privilegesToJson } from "./privileges.ts";
import type { JsonObject } from "./reader.ts";

/** @throws ClusterError `invalid-argument` naming the field. */
export function containerFromJson(json: JsonObject): ContainerSpec {
  return ContainerSpec.create({
    image: json.string("Image"),
    labels: json.stringMap("Labels"),
    command: json.strings("Command"),
    args: json.strings("Args"),
    hostname: json.string("Hostname"),
    env: json.strings("Env"),
    dir: json.string("Dir"),
    user: json.string("User"),
    groups: json.strings("Groups"),
    privileges: privilegesFromJson(json.object("Privileges")),
    init: json.optionalBool("Init"),
    tty: json.bool("TTY"),
    openStdin: json.bool("OpenStdin"),
    readOnly: json.bool("ReadOnly"),
    stopSignal: json.string("StopSignal"),
    mounts: json.objects("Mounts").map(mountFromJson),
    stopGracePeriodNs: json.optionalInteger("StopGracePeriod"),
    health: healthFromJson(json.object("Healthcheck")),
    hosts: json.strings("Hosts"),
    dns: dnsFromJson(json.object("DNSConfig")),
    secrets: json.objects("Secrets").map(secretReferenceFromJson),
    configs: json.objects("Configs").map(configReferenceFromJson),
    // The default is kept as nothing: clients send it back as a word, and the spec must not differ by that.
    isolation: json.string("Isolation") === "default" ? "" : json.string("Isolation"),
    sysctls: json.stringMap("Sysctls"),
    capabilityAdd: json.strings("CapabilityAdd"),
    capabilityDrop: json.strings("CapabilityDrop"),
    ulimits: json.objects("Ulimits").map(ulimitFromJson),
    oomScoreAdj: json.integer("OomScoreAdj"),
  });
}

/** The container as the API shows it. */
export function containerToJson(spec: ContainerSpec): Json {
  return {
    Image: textOrNothing(spec.image),
    Labels: mapOrNothing(spec.labels),
    Command: listOrNothing(spec.command),
    Args: listOrNothing(spec.args),
    Hostname: textOrNothing(spec.hostname),
    Env: listOrNothing(spec.env),
    Dir: textOrNothing(spec.dir),
    User: textOrNothing(spec.user),
    Groups: listOrNothing(spec.groups),
    Privileges: privilegesToJson(spec.privileges),
    Init: spec.init,
    StopSignal: textOrNothing(spec.stopSignal),
    TTY: flagOrNothing(spec.tty),
    OpenStdin: flagOrNothing(spec.openStdin),
    ReadOnly: flagOrNothing(spec.readOnly),
    Mounts: listOrNothing(spec.mounts.map(mountToJson)),
    StopGracePeriod: spec.stopGracePeriodNs,
    Healthcheck: healthToJson(spec.health),
    Hosts: listOrNothing(spec.hosts),
    DNSConfig: dnsToJson(spec.dns),
    Secrets: listOrNothing(spec.secrets.map(secretReferenceToJson)),
    Configs: listOrNothing(spec.configs.map(configReferenceToJson)),
    Isolation: spec.isolation === "" ? "default" : spec.isolation,
    Sysctls: mapOrNothing(spec.sysctls),
    CapabilityAdd: listOrNothing(spec.capabilityAdd),
    CapabilityDrop: listOrNothing(spec.capabilityDrop),
    Ulimits: listOrNothing(spec.ulimits.map((u) => ({ Name: u.name, Hard: u.hard, Soft: u.soft }))),
    OomScoreAdj: numberOrNothing(spec.oomScoreAdj),
  };
}

function healthFromJson(json: JsonObject | undefined): HealthConfig | undefined {
  if (json === undefined) return undefined;
  const retries = json.integer("Retries");
  if (retries < 0) throw json.invalid("ContainerSpec: Retries in HealthConfig cannot be negative");
  return HealthConfig.create({
    test: json.strings("Test"),
    intervalNs: json.integer("Interval"),
    timeoutNs: json.integer("Timeout"),
    retries: json.uint32("Retries"),
    startPeriodNs: json.integer("StartPeriod"),
    startIntervalNs: json.integer("StartInterval"),
  });
}

function healthToJson(health: HealthConfig | undefined): Json | undefined {
  if (health === undefined) return undefined;
  return {
    Test: listOrNothing(health.test),
    Interval: numberOrNothing(health.intervalNs),
    Timeout: numberOrNothing(health.timeoutNs),
    StartPeriod: numberOrNothing(health.startPeriodNs),
    StartInterval: numberOrNothing(health.startIntervalNs),
    Retries: numberOrNothing(health.retries),
  };
}

function dnsFromJson(json: JsonObject | undefined): DnsConfig | undefined {
  if (json === undefined) return undefined;
  return DnsConfig.create({
    nameservers: json.strings("Nameservers"),
    search: json.strings("Search"),
    options: json.strings("Options"),
  });
}

function dnsToJson(dns: DnsConfig | undefined): Json | undefined {
  if (dns === undefined) return undefined;
  return {
    Nameservers: listOrNothing(dns.nameservers),
    Search: listOrNothing(dns.search),
    Options: listOrNothing(dns.options),
  };
}

function fileFromJson(json: JsonObject | undefined): FileTarget | undefined {
  if (json === undefined) return undefined;
  return FileTarget.create({
    name: json.string("Name"),
    uid: json.string("UID"),
    gid: json.string("GID"),
    mode: json.uint32("Mode"),
  });
}

function fileToJson(file: FileTarget | undefined): Json | undefined {
  return file && { Name: file.name, UID: file.uid, GID: file.gid, Mode: file.mode };
}

function secretReferenceFromJson(json: JsonObject): SecretReference {
  return SecretReference.create({
    secretId: json.string("SecretID"),
    secretName: json.string("SecretName"),
    file: fileFromJson(json.object("File")),
  });
}

function secretReferenceToJson(reference: SecretReference): Json {
  return {
    File: fileToJson(reference.file),
    SecretID: reference.secretId,
    SecretName: reference.secretName,
  };
}

function configReferenceFromJson(json: JsonObject): ConfigReference {
  const file = fileFromJson(json.object("File"));
  const runtime = json.has("Runtime");
  if (file === undefined && !runtime)
    throw json.invalid("invalid Config: either File or Runtime should be set");
  if (file !== undefined && runtime)
    throw json.invalid("invalid Config: cannot specify both File and Runtime");
  return ConfigReference.create({
    configId: json.string("ConfigID"),
    configName: json.string("ConfigName"),
    file,
    runtime,
  });
}

function configReferenceToJson(reference: ConfigReference): Json {
  return {
    File: fileToJson(reference.file),
    Runtime: reference.runtime ? {} : undefined,
    ConfigID: reference.configId,
    ConfigName: reference.configName,
  };
}

function ulimitFromJson(json: JsonObject): Ulimit {
  return Ulimit.create({
    name: json.string("Name"),
    soft: json.integer("Soft"),
    hard: json.integer("Hard"),
  });
}
