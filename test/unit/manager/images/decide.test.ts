/**
 * What registries are asked, and what becomes of their answers.
 */
import assert from "node:assert/strict";
import {
  type Answer,
  imageAfterAnswer,
  imageAfterFailure,
  pauseAfter,
  type Wish,
  wishOf,
} from "../../../../manager/images/decide.ts";
import {
  ContainerSpec,
  Meta,
  PullOptions,
  Service,
  ServiceImage,
  ServiceSpec,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { aPlatform } from "../../../support/scheduler.ts";

function service(parts: { image?: string; forceUpdate?: number; known?: Partial<ServiceImage> }) {
  const { image = "app:1", forceUpdate = 0, known } = parts;
  const container = ContainerSpec.create({
    image,
    pull: PullOptions.create({ registryAuth: "c2VjcmV0" }),
  });
  return Service.create({
    id: "web",
    meta: Meta.create({ version: 40 }),
    specVersion: 30,
    spec: ServiceSpec.create({ task: TaskSpec.create({ container, forceUpdate }) }),
    image: known && ServiceImage.create({ reference: "app:1", ...known }),
  });
}

const answer: Answer = {
  digest: "sha256:new",
  platforms: ["linux/arm64", "linux/arm/v7", "linux/arm64"].map(aPlatform),
  manifests: ["sha256:64", "sha256:v7", "sha256:twice"],
};
const wish: Wish = { reference: "app:1", registryAuth: "", forceUpdate: 0 };
const away = new ClusterError("unavailable", "the registry does not answer");

describe("manager/images/decide", () => {
  it("asks for what is not known, with the service's credentials", () => {
    const asks = (parts: Parameters<typeof service>[0]) => wishOf(service(parts))?.reference;
    assert.deepEqual(wishOf(service({})), { ...wish, registryAuth: "c2VjcmV0" });
    assert.equal(asks({ known: { digest: "sha256:1" } }), undefined, "known");
    assert.equal(asks({ image: "app:2", known: { digest: "sha256:1" } }), "app:2", "changed");
    assert.equal(asks({ forceUpdate: 1, known: { digest: "sha256:1" } }), "app:1", "forced");
    assert.equal(asks({ known: { error: "away" } }), "app:1", "failed before");
    assert.equal(wishOf(Service.create({ id: "s" })), undefined, "no container");
  });

  it("keeps an answer, each platform once", () => {
    const image = imageAfterAnswer(service({}), wish, answer, 77);
    assert.deepEqual(image, {
      reference: "app:1",
      digest: "sha256:new",
      platforms: [aPlatform("linux/arm64"), aPlatform("linux/arm/v7")],
      manifests: ["sha256:64", "sha256:v7"],
      earlier: [],
      resolvedAtMs: 77,
      error: "",
      forceUpdate: 0,
      overVersion: 40,
      specVersion: 30,
    });
  });

  it("remembers images of before, each once, the latest first", () => {
    const image = (reference: string) => ({ reference, manifests: [`sha256:of ${reference}`] });
    let last = imageAfterAnswer(service({}), wish, answer, 1);
    for (const tag of ["2", "3", "2", "4"]) {
      const before = { ...service({}), image: { ...last, ...image(last.reference) } };
      last = imageAfterAnswer(before, { ...wish, reference: `app:${tag}` }, answer, 1);
    }
    const known = last.earlier.map(({ reference, manifests }) => ({ reference, manifests }));
    assert.deepEqual(known, [image("app:2"), image("app:3"), image("app:1")]);
  });

  it("remembers the first version it was written over, for each spec", () => {
    const again = service({ known: { overVersion: 35, specVersion: 30 } });
    assert.equal(imageAfterAnswer(again, wish, answer, 77).overVersion, 35);
    const other = service({ known: { overVersion: 25, specVersion: 20 } });
    assert.equal(imageAfterAnswer(other, wish, answer, 77).overVersion, 40);
  });

  it("keeps what is known of the image while the registry does not answer", () => {
    const known = { digest: "sha256:old", platforms: answer.platforms, resolvedAtMs: 5 };
    const image = imageAfterFailure(service({ known }), wish, away, undefined);
    assert.equal(image?.digest, "sha256:old");
    assert.equal(image?.resolvedAtMs, 5);
    assert.equal(image?.error, "the registry does not answer");
  });

  it("takes over what another service knows of the image, and nothing of another image", () => {
    const other = ServiceImage.create({ reference: "app:2", digest: "sha256:2" });
    const of = service({ image: "app:2", known: { digest: "sha256:old" } });
    const asked = { ...wish, reference: "app:2" };
    assert.equal(imageAfterFailure(of, asked, away, other)?.digest, "sha256:2");
    assert.equal(imageAfterFailure(of, asked, away, undefined)?.digest, "");
  });

  it("writes the same failure once", () => {
    const first = imageAfterFailure(service({}), wish, away, undefined);
    assert.ok(first !== undefined);
    const of = service({ known: first });
    assert.equal(imageAfterFailure(of, wish, away, undefined), undefined);
    const other = new ClusterError("not-found", "no such image");
    assert.equal(imageAfterFailure(of, wish, other, undefined)?.error, "no such image");
    assert.notEqual(imageAfterFailure(of, { ...wish, forceUpdate: 1 }, away, undefined), undefined);
  });

  it("tries again soon where nobody answered, and late where the answer was no", () => {
    const pauses = [1, 2, 3, 7, 60].map((attempts) => pauseAfter(away, attempts));
    assert.deepEqual(pauses, [5_000, 10_000, 20_000, 300_000, 300_000]);
    assert.equal(pauseAfter(new ClusterError("not-found", "no such image"), 1), 600_000);
  });
});
