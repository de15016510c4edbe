/**
 * The loop that asks registries, over a real store.
 */
import assert from "node:assert/strict";
import type { Answer } from "../../../../manager/images/decide.ts";
import { ImageLoop, type ImageRegistry } from "../../../../manager/images/loop.ts";
import type { Store } from "../../../../manager/state/store.ts";
import {
  PullOptions,
  type Service,
  type ServiceImage,
} from "../../../../src/common/api/generated/api.ts";
import { FakeClock } from "../../../../src/common/clock/clock.ts";
import { ClusterError } from "../../../../src/common/errors/cluster-error.ts";
import { silentLog } from "../../../../src/common/log/log.ts";
import { localStore } from "../../../support/local-log.ts";
import { settled } from "../../../support/message-queue.ts";
import { aPlatform, aService } from "../../../support/scheduler.ts";

/** A registry that answers as it is told, and remembers what it was asked. */
class TestRegistry implements ImageRegistry {
  readonly asked: string[] = [];
  readonly answers = new Map<string, Answer | ClusterError>();
  underWay = 0;
  most = 0;
  /** Holds answers back. */
  gate: Promise<void> = Promise.resolve();

  async resolve(
    reference: string,
    { auth, signal }: Parameters<ImageRegistry["resolve"]>[1],
  ): Promise<Answer> {
    this.asked.push(auth === undefined ? reference : `${auth.username}@${reference}`);
    this.underWay++;
    this.most = Math.max(this.most, this.underWay);
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    try {
      await Promise.race([this.gate, aborted]);
    } finally {
      this.underWay--;
    }
    const answer = this.answers.get(reference) ?? new ClusterError("not-found", "no such image");
    if (answer instanceof ClusterError) throw answer;
    return answer;
  }
}

const arm: Answer = { digest: "sha256:arm", platforms: [aPlatform("linux/arm/v7")] };

describe("manager/images/loop", () => {
  let clock: FakeClock;
  let store: Store;
  let registry: TestRegistry;
  let stop: AbortController;
  let run: Promise<void>;

  beforeEach(async () => {
    clock = new FakeClock();
    ({ store } = localStore({ clock }));
    registry = new TestRegistry();
    registry.answers.set("r/app:1", arm);
    stop = new AbortController();
    const tools = { clock, log: silentLog };
    run = new ImageLoop({ store, term: 1 }, registry, tools).run(stop.signal);
    await turns();
  });
  afterEach(async () => {
    stop.abort();
    await run;
  });

  async function turns(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await settled();
  }

  async function pass(ms: number): Promise<void> {
    await clock.advance(ms);
    await turns();
  }

  async function add(id: string, image: string, auth = ""): Promise<void> {
    const service = aService(id, { image });
    await store.update((tx) =>
      tx.create("service", { ...withAuth(service, auth), image: undefined }),
    );
    await turns();
  }

  function withAuth(service: Service, registryAuth: string): Service {
    const { spec } = service;
    const container = spec?.task?.container;
    if (spec?.task === undefined || container === undefined) return service;
    const pull = PullOptions.create({ registryAuth });
    return {
      ...service,
      spec: { ...spec, task: { ...spec.task, container: { ...container, pull } } },
    };
  }

  async function changeImage(id: string, image: string): Promise<void> {
    await store.update((tx) => {
      const service = tx.get("service", id);
      const spec = aService(id, { image }).spec;
      if (service !== undefined) tx.update("service", { ...service, spec });
    });
    await turns();
  }

  function image(id: string): ServiceImage | undefined {
    return store.view().get("service", id)?.image;
  }

  it("notes digest and platforms of a new service's image, beside its spec", async () => {
    await add("web", "r/app:1");
    assert.deepEqual(image("web")?.platforms, arm.platforms);
    assert.equal(image("web")?.digest, "sha256:arm");
    assert.equal(store.view().get("service", "web")?.spec?.task?.container?.image, "r/app:1");
    await pass(10_000);
    assert.deepEqual(registry.asked, ["r/app:1"]);
  });

  it("asks again when the image changes", async () => {
    await add("web", "r/app:1");
    registry.answers.set("r/app:2", { ...arm, digest: "sha256:2" });
    await changeImage("web", "r/app:2");
    assert.equal(image("web")?.digest, "sha256:2");
    assert.deepEqual(registry.asked, ["r/app:1", "r/app:2"]);
  });

  it("asks with the credentials of the service, once for all that have them", async () => {
    const auth = Buffer.from(JSON.stringify({ username: "bee", password: "p" })).toString("base64");
    let open = () => {};
    registry.gate = new Promise((resolve) => {
      open = resolve;
    });
    await add("a", "r/app:1", auth);
    await add("b", "r/app:1", auth);
    await add("c", "r/app:1");
    open();
    await turns();
    assert.deepEqual(registry.asked, ["bee@r/app:1", "r/app:1"]);
    assert.deepEqual(
      ["a", "b", "c"].map((id) => image(id)?.digest),
      Array(3).fill("sha256:arm"),
    );
  });

  it("says that the registry did not answer, and asks again later", async () => {
    registry.answers.set("r/app:1", new ClusterError("unavailable", "connection refused"));
    await add("web", "r/app:1");
    assert.equal(image("web")?.error, "connection refused");
    assert.equal(image("web")?.digest, "");
    registry.answers.set("r/app:1", arm);
    await pass(30_000);
    assert.equal(image("web")?.error, "");
    assert.equal(image("web")?.digest, "sha256:arm");
  });

  it("does not wait for a registry that did not answer a moment ago", async () => {
    registry.answers.set("10.0.0.1:5000/a", new ClusterError("unavailable", "connection refused"));
    await add("a", "10.0.0.1:5000/a");
    await add("b", "10.0.0.1:5000/b");
    assert.equal(image("b")?.error, "connection refused");
    assert.deepEqual(registry.asked, ["10.0.0.1:5000/a"]);
  });

  it("gives a registry six seconds", async () => {
    registry.gate = new Promise(() => {});
    await add("web", "r/app:1");
    await pass(5_900);
    assert.equal(image("web"), undefined);
    await pass(200);
    assert.equal(image("web")?.error, "the registry did not answer in time");
  });

  it("asks for eight images at a time at most", async () => {
    let open = () => {};
    registry.gate = new Promise((resolve) => {
      open = resolve;
    });
    for (let n = 0; n < 20; n++) await add(`s${n}`, `r/app:${n}`);
    assert.equal(registry.most, 8);
    open();
    await turns();
    assert.equal(registry.asked.length, 20);
    assert.equal(registry.most, 8);
  });

  it("says what is wrong with credentials that cannot be read", async () => {
    await add("web", "r/app:1", "no base64 of json");
    assert.match(image("web")?.error ?? "", /credentials of the service cannot be read/);
  });

  it("forgets services that are gone", async () => {
    registry.answers.set("r/app:1", new ClusterError("unavailable", "connection refused"));
    await add("web", "r/app:1");
    await store.update((tx) => tx.remove("service", "web"));
    await pass(60_000);
    assert.equal(registry.asked.length, 1);
  });

  it("ends while it waits for an answer", async () => {
    registry.gate = new Promise(() => {});
    await add("web", "r/app:1");
    stop.abort(new ClusterError("aborted", "not the leader any more"));
    await run;
    assert.equal(image("web"), undefined);
  });
});
