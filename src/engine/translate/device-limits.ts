/**
 * What `HostConfig` says of devices by number and of block devices one by one ↔ rules and limits of a container. Pure.
 */
import type { ContainerConfig } from "../../common/container/types.ts";
import {
  type BlockDeviceLimit,
  type DeviceRule,
  deviceRulesFrom,
} from "../../common/spec/container-labels.ts";
import type { Json } from "./common.ts";
import type { JsonObject } from "./reader.ts";

/** `--device-cgroup-rule`. @throws ClusterError `invalid-argument` with Docker's text. */
export function deviceRulesFromJson(json: JsonObject): readonly DeviceRule[] {
  return json.strings("DeviceCgroupRules").flatMap((text) => {
    const rules = text.includes(",") ? undefined : deviceRulesFrom(text);
    if (rules !== undefined) return rules;
    throw json.invalid(
      `invalid device cgroup rule format: '${text}'; give type, numbers and rights, such as 'c 1:3 mr' or 'b 7:* rwm'`,
    );
  });
}

/** Fields of the API, each with what it limits. */
const limitFields: readonly (readonly [string, BlockDeviceLimit["what"]])[] = [
  ["BlkioWeightDevice", "weight"],
  ["BlkioDeviceReadBps", "read-bps"],
  ["BlkioDeviceWriteBps", "write-bps"],
  ["BlkioDeviceReadIOps", "read-iops"],
  ["BlkioDeviceWriteIOps", "write-iops"],
];

/** `--blkio-weight-device`, `--device-read-bps` and the like. @throws ClusterError `invalid-argument` naming the field. */
export function blockDevicesFromJson(json: JsonObject): readonly BlockDeviceLimit[] {
  return limitFields.flatMap(([field, what]) =>
    json.objects(field).flatMap((item, i) => {
      const path = item.string("Path");
      if (!path.startsWith("/"))
        throw json.invalid(
          `${field}[${i}].Path ${JSON.stringify(path)} must be the path of a block device, such as /dev/sda`,
        );
      const value = item.natural(what === "weight" ? "Weight" : "Rate");
      if (what === "weight" && (value < 10 || value > 1000))
        throw json.invalid(
          `${field}[${i}].Weight ${value} of ${path}: range of blkio weight is from 10 to 1000`,
        );
      // As with Docker a rate of 0 is none.
      return value === 0 ? [] : [{ path, what, value }];
    }),
  );
}

/** The same fields of a container, whoever asked for it. */
export function deviceLimitsToJson({ deviceRules = [], blkioDevices = [] }: ContainerConfig): Json {
  const lists = limitFields.map(([field, what]) => {
    const own = blkioDevices.filter((one) => one.what === what);
    const items = own.map(({ path, value }) => ({
      Path: path,
      [what === "weight" ? "Weight" : "Rate"]: value,
    }));
    return [field, items.length === 0 ? null : items] as const;
  });
  const rules = deviceRules.map(
    ({ type, major, minor, access }) => `${type} ${major ?? "*"}:${minor ?? "*"} ${access}`,
  );
  return { ...Object.fromEntries(lists), DeviceCgroupRules: rules.length === 0 ? null : rules };
}
