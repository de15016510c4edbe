/**
 * The specs a service had, as the API shows them.
 */
import { deepEqual } from "node:assert/strict";
import {
  Config,
  ConfigReference,
  ContainerSpec,
  Service,
  ServiceSpec,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import type { ObjectView } from "../../../../src/engine/ports.ts";
import { historyToJson } from "../../../../src/engine/service-history.ts";

function specWith(revision: number): ServiceSpec {
  const configs = [ConfigReference.create({ configId: "c1", configName: "page", revision })];
  return ServiceSpec.create({
    task: TaskSpec.create({ container: ContainerSpec.create({ configs }) }),
  });
}

describe("src/engine/service-history", () => {
  const configsOf = (service: Service, newest: number) => {
    const view = { get: () => Config.create({ id: "c1", revision: newest }) };
    return historyToJson(service, view as unknown as ObjectView).map(({ Configs }) => Configs);
  };
  const page = { ID: "c1", Name: "page" };

  it("says where the present spec stays with an earlier revision", () => {
    const service = Service.create({ spec: specWith(0) });
    deepEqual(configsOf(service, 2), [[{ ...page, Revision: 1, Newest: 2 }]]);
    deepEqual(configsOf(service, 1), [[{ ...page, Revision: 1 }]]);
    deepEqual(configsOf(service, 0), [[{ ...page, Revision: 1 }]]);
    deepEqual(configsOf(Service.create({ spec: specWith(2) }), 2), [[{ ...page, Revision: 2 }]]);
  });
});
