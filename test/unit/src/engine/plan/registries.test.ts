/**
 * Which registries are asked for a plan, and how often; time and registries are fakes.
 */
import { deepEqual, equal } from "node:assert/strict";
import { FakeClock } from "../../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../../src/common/errors/cluster-error.ts";
import { planRegistryMs } from "../../../../../src/common/limits/limits.ts";
import type { EngineContext } from "../../../../../src/engine/context.ts";
import type { Place } from "../../../../../src/engine/plan/places.ts";
import { PlanRegistries } from "../../../../../src/engine/plan/registries.ts";
import { settled } from "../../../../support/message-queue.ts";
import { aService } from "../../../../support/scheduler.ts";

const { signal } = new AbortController();
const late = "the registry did not answer in time";

/** Services with these images, as a plan has made them. */
const services = (...images: readonly string[]) => ({
  services: () => images.map((image) => aService(image, { image })),
});
const place = (image: string): Place => ({
  ...{ key: image, lot: { image, auth: undefined, platforms: [], emulated: false } },
  ...{ nodeId: "n", service: "s", serviceId: "s", paths: [], volumes: [], ports: [] },
});

describe("src/engine/plan/registries", () => {
  let clock: FakeClock;
  let asked: string[];

  beforeEach(() => {
    clock = new FakeClock();
    asked = [];
  });

  /** Those at `silent` never answer, those at `wrong` refuse. */
  function registries(o: { asks?: boolean; silent?: ReadonlyMap<string, string> } = {}) {
    const answer = async (image: string) => {
      asked.push(image);
      if (image.startsWith("wrong")) throw new ClusterError("not-found", `no ${image}`);
      if (image.startsWith("silent")) await new Promise(() => undefined);
      return { digest: "sha256:1", platforms: [], blobs: [] };
    };
    const registry = { resolve: answer, contents: answer };
    const context = { clock, ports: { registry } } as unknown as EngineContext;
    return new PlanRegistries(context, { asks: true, silent: new Map(), ...o, signal });
  }

  it("asks for all images side by side, and waits once for those that are silent", async () => {
    const it = registries();
    const images = ["silent:1/a", "silent:1/b", "silent:2/c", "good:1/d"];
    const resolved = it.resolve(services(...images));
    await settled();
    deepEqual(asked, images);
    await clock.advance(planRegistryMs);
    deepEqual([...(await resolved).keys()], ["good:1/d"]);
    deepEqual(
      [...it.unresolved],
      images.slice(0, 3).map((image) => [image, late]),
    );
    asked = [];
    const contents = await it.contents([place("silent:1/other"), place("good:1/d")]);
    deepEqual(contents.get("silent:1/other"), { unknown: late });
    deepEqual(asked, ["good:1/d"]);
  });

  it("goes on asking a registry that refused one image", async () => {
    const it = registries();
    await it.resolve(services("wrong:1/a"));
    deepEqual([...it.unresolved], [["wrong:1/a", "no wrong:1/a"]]);
    await it.contents([place("wrong:1/a"), place("wrong:1/b")]);
    deepEqual(asked, ["wrong:1/a", "wrong:1/b"]);
  });

  it("does not ask whom the client has waited for", async () => {
    const it = registries({ silent: new Map([["silent:1/a", "gone"]]) });
    await it.resolve(services("silent:1/a", "silent:1/b"));
    deepEqual(
      [...it.unresolved],
      [
        ["silent:1/a", "gone"],
        ["silent:1/b", "gone"],
      ],
    );
    deepEqual(asked, []);
  });

  it("asks nobody when registries are not to be asked", async () => {
    const it = registries({ asks: false });
    equal((await it.resolve(services("good:1/a"))).size, 0);
    const reason = "registries were not to be asked";
    deepEqual([...it.unresolved], [["good:1/a", reason]]);
    deepEqual((await it.contents([place("good:1/b")])).get("good:1/b"), { unknown: reason });
    deepEqual(asked, []);
  });
});
