/**
 * What agents are told of a service for names and backends.
 */
import { deepEqual } from "node:assert/strict";
import { networkServiceOf } from "../../../../manager/dispatcher/network-view.ts";
import {
  Endpoint,
  type EndpointMode,
  EndpointSpec,
  NetworkAttachmentConfig,
  Service,
  ServiceSpec,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";

describe("manager/dispatcher/network-view", () => {
  function networks(mode: EndpointMode): string[] | undefined {
    const task = TaskSpec.create({
      networks: [
        NetworkAttachmentConfig.create({ target: "a", aliases: ["x"] }),
        NetworkAttachmentConfig.create({ target: "b" }),
      ],
    });
    const service = Service.create({
      id: "s",
      spec: ServiceSpec.create({ task }),
      endpoint: Endpoint.create({ spec: EndpointSpec.create({ mode }) }),
    });
    return networkServiceOf(service)?.aliases.map(
      ({ networkId, names }) => `${networkId}: ${names.join(" ")}`,
    );
  }

  it("says what else a service is called, and where one without an address is", () => {
    deepEqual(networks("vip"), ["a: x"]);
    deepEqual(networks("dnsrr"), ["a: x", "b: "]);
  });
});
