/**
 * Warnings of networks and pools that run out of addresses.
 */
import { deepEqual, match } from "node:assert/strict";
import {
  Annotations,
  Cluster,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkSpec,
} from "../../../../../src/common/api/generated/api.ts";
import { addressWarnings } from "../../../../../src/engine/translate/network-warnings.ts";

const network = (subnet: string, fullness = 0): Network =>
  Network.create({
    id: subnet,
    fullness,
    spec: NetworkSpec.create({ annotations: Annotations.create({ name: "app" }) }),
    ipam: IpamOptions.create({ configs: [IpamConfig.create({ subnet })] }),
  });
const cluster = Cluster.create({ defaultAddressPool: ["10.20.0.0/22"], subnetSize: 24 });

describe("src/engine/translate/network-warnings", () => {
  it("names networks that are nearly full, and full ones", () => {
    const some = [network("10.9.0.0/24"), network("10.9.1.0/24", 75), network("10.9.2.0/24", 100)];
    deepEqual(addressWarnings(Cluster.create(), some), [
      "WARNING: network app: 75% or more of 10.9.1.0/24 are taken: remove services or tasks from it, or make a network with a larger --subnet",
      "WARNING: network app has no free address left in 10.9.2.0/24: remove services or tasks from it, or make a network with a larger --subnet",
    ]);
  });

  it("counts the subnets that pools have left", () => {
    const two = [network("10.20.0.0/24"), network("10.20.1.0/24")];
    deepEqual(addressWarnings(cluster, two), []);
    const [words] = addressWarnings(cluster, [...two, network("10.20.2.0/26")]);
    match(words ?? "", /pools of the swarm \(10\.20\.0\.0\/22\) have 1 of 4 subnets left/);
    const [larger] = addressWarnings(cluster, [network("10.0.0.0/8")]);
    match(larger ?? "", /have 0 of 4 subnets left/);
  });
});
