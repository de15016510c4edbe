/**
 * What services and tasks get of the cluster, and what those say that have to wait.
 */
import assert from "node:assert/strict";
import { AllocationBook } from "../../../../manager/allocator/book.ts";
import {
  allocateService,
  allocateTask,
  type Surroundings,
} from "../../../../manager/allocator/decide.ts";
import {
  Driver,
  Endpoint,
  EndpointSpec,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  PortConfig,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";

/** A network with its subnets. */
function net(id: string, driver: string, subnets: readonly string[] = [], ingress = false) {
  const annotations = { name: `n-${id}`, labels: {} };
  const configs = subnets.map((subnet) => IpamConfig.create({ subnet }));
  const ipam = subnets.length === 0 ? undefined : IpamOptions.create({ configs });
  const spec = NetworkSpec.create({
    annotations,
    driver: Driver.create({ name: driver }),
    ingress,
  });
  return Network.create({ id, spec, ipam });
}

interface Given {
  readonly networks?: readonly Network[];
  readonly targets?: readonly Partial<NetworkAttachmentConfig>[];
  readonly ports?: readonly Partial<PortConfig>[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly mode?: "vip" | "dnsrr";
}

/** A service in a book. */
class Scene {
  readonly book = new AllocationBook();
  readonly networks = new Map<string, Network>();
  service: Service;
  readonly surroundings: Surroundings;

  constructor(given: Given) {
    for (const network of given.networks ?? []) {
      this.networks.set(network.id, network);
      this.book.setNetwork(network.id, network);
    }
    const ports = (given.ports ?? []).map((port) => PortConfig.create(port));
    this.service = Service.create({
      id: "s",
      spec: ServiceSpec.create({
        annotations: { name: "web", labels: given.labels ?? {} },
        task: TaskSpec.create({
          networks: (given.targets ?? []).map((target) => NetworkAttachmentConfig.create(target)),
        }),
        endpoint:
          given.ports === undefined && given.mode === undefined
            ? undefined
            : EndpointSpec.create({ mode: given.mode ?? "vip", ports }),
      }),
    });
    this.book.setService("s", this.service);
    this.surroundings = {
      book: this.book,
      network: (id) => this.networks.get(id),
      service: (id) => (id === "s" ? this.service : undefined),
      reasonOf: () => undefined,
    };
  }

  /** The service's endpoint, or why there is none. */
  endpoint(): Endpoint | string {
    const allocation = allocateService(this.service, this.surroundings);
    if (allocation.kind === "wait") return allocation.reason;
    this.service = { ...this.service, endpoint: allocation.endpoint };
    return allocation.endpoint;
  }

  /** Addresses of a task by network, or why it waits. */
  task(slot: number): Record<string, readonly string[]> | string {
    const { spec } = this.service;
    const endpoint = spec?.endpoint && Endpoint.create({ spec: spec.endpoint });
    const task = Task.create({ id: `t${slot}`, serviceId: "s", slot, spec: spec?.task, endpoint });
    const allocation = allocateTask(task, this.surroundings);
    if (allocation.kind === "wait") return allocation.reason;
    return Object.fromEntries(
      allocation.networks.map(({ networkId, addresses, ownDriver }) => [
        networkId,
        ownDriver === "" ? addresses : [ownDriver],
      ]),
    );
  }
}

function vipsOf(endpoint: Endpoint | string): string[] {
  if (typeof endpoint === "string") return [endpoint];
  return endpoint.virtualIps.map(({ networkId, address }) => `${networkId} ${address}`);
}

const mesh = net("i", "overlay", ["10.255.0.0/16"], true);
const back = net("b", "overlay", ["10.0.1.0/24"]);
const both = net("d", "overlay", ["10.0.2.0/24", "fd00::/64"]);
const tiny = net("t", "overlay", ["10.0.3.0/30"]);
const published = { publishedPort: 80, targetPort: 80 };

describe("manager/allocator/decide", () => {
  it("lets tasks pass that need nothing", () => {
    const scene = new Scene({});
    assert.deepEqual(vipsOf(scene.endpoint()), []);
    assert.deepEqual(scene.task(1), {});
  });

  it("gives a service an address in each of its networks, the mesh's first, and tasks theirs", () => {
    const scene = new Scene({
      networks: [mesh, back, both],
      targets: [{ target: "b" }, { target: "d" }],
      ports: [published],
    });
    assert.deepEqual(vipsOf(scene.endpoint()), [
      "i 10.255.0.1/16",
      "b 10.0.1.1/24",
      "d 10.0.2.1/24",
      "d fd00::1/64",
    ]);
    assert.deepEqual(scene.task(1), {
      i: ["10.255.0.2/16"],
      b: ["10.0.1.2/24"],
      d: ["10.0.2.2/24", "fd00::2/64"],
    });
  });

  it("gives the same again to whoever has it", () => {
    const scene = new Scene({ networks: [back], targets: [{ target: "b" }] });
    assert.deepEqual(scene.endpoint(), scene.endpoint());
    assert.deepEqual(scene.task(1), scene.task(1));
    assert.deepEqual(scene.task(2), { b: ["10.0.1.3/24"] });
  });

  it("gives no virtual address in mode dnsrr", () => {
    const scene = new Scene({ networks: [back], targets: [{ target: "b" }], mode: "dnsrr" });
    assert.deepEqual(vipsOf(scene.endpoint()), []);
    assert.deepEqual(scene.task(1), { b: ["10.0.1.1/24"] });
  });

  it("leaves to the node what is the node's", () => {
    const scene = new Scene({
      networks: [net("h", "host")],
      targets: [{ target: "h" }],
      ports: [{ ...published, publishMode: "host" }],
    });
    const endpoint = scene.endpoint();
    assert.deepEqual(vipsOf(endpoint), []);
    assert.equal(typeof endpoint === "string" ? 0 : endpoint.ports[0]?.publishedPort, 80);
    assert.deepEqual(scene.task(1), { h: ["host"] });
  });

  it("says what nodes are to make the networks from that are theirs to make", () => {
    const scene = new Scene({
      networks: [net("lan", "macvlan"), net("host", "host")],
      targets: [{ target: "lan", aliases: ["db"] }],
    });
    scene.service = { ...scene.service, endpoint: Endpoint.create() };
    const task = Task.create({ id: "t", spec: scene.service.spec?.task });
    const allocation = allocateTask(task, scene.surroundings);
    assert.equal(allocation.kind, "done");
    const [attachment] = allocation.kind === "done" ? allocation.networks : [];
    assert.deepEqual(attachment?.nodeNetwork, scene.networks.get("lan")?.spec);
    assert.deepEqual(
      [attachment?.ownDriver, attachment?.addresses, attachment?.aliases],
      ["macvlan", [], ["db"]],
    );
    assert.deepEqual(vipsOf(scene.endpoint()), []);
  });

  it("gives slots the addresses that labels name, and nobody else", () => {
    const scene = new Scene({
      networks: [back],
      targets: [{ target: "b" }],
      labels: { "skep.address.2": "10.0.1.2", "skep.address.n-b.3": "10.0.1.200" },
    });
    assert.deepEqual(vipsOf(scene.endpoint()), ["b 10.0.1.1/24"]);
    assert.deepEqual(scene.task(1), { b: ["10.0.1.3/24"] });
    assert.deepEqual(scene.task(2), { b: ["10.0.1.2/24"] });
    assert.deepEqual(scene.task(3), { b: ["10.0.1.200/24"] });
  });

  for (const [fact, given, reason] of [
    ["a network that is gone", { targets: [{ target: "x" }] }, /^network x not found$/],
    [
      "a network without addresses",
      { networks: [net("b", "overlay")], targets: [{ target: "b" }] },
      /^network n-b has no addresses yet$/,
    ],
    [
      "a driver that spans no swarm",
      { networks: [net("v", "weave")], targets: [{ target: "v" }] },
      /^network n-v of driver weave cannot be attached to: use a network of driver overlay$/,
    ],
    ["the mesh's network", { ports: [published] }, /^network ingress not found$/],
  ] as const) {
    it(`has service and tasks wait for ${fact}, and says so`, () => {
      const scene = new Scene(given);
      const endpoint = scene.endpoint();
      assert.match(String(typeof endpoint === "string" ? endpoint : scene.task(1)), reason);
    });
  }

  it("has a task wait when its network is full, and gives nothing back that others have", () => {
    const scene = new Scene({
      networks: [back, tiny],
      targets: [{ target: "b" }, { target: "t" }],
    });
    assert.deepEqual(vipsOf(scene.endpoint()), ["b 10.0.1.1/24", "t 10.0.3.1/30"]);
    assert.deepEqual(scene.task(1), { b: ["10.0.1.2/24"], t: ["10.0.3.2/30"] });
    assert.match(
      String(scene.task(2)),
      /^network n-t has no free address left in 10\.0\.3\.0\/30: remove tasks or services from it/,
    );
    // What the waiting task had got in its other network is free again.
    assert.equal(scene.book.page("b")?.subnets[0]?.addressOf("t2"), undefined);
    assert.equal(scene.book.page("b")?.subnets[0]?.taken, 2);
  });

  for (const [fact, address, reason] of [
    ["another has", "10.0.1.1", /^address 10\.0\.1\.1 of network n-b is already in use by s$/],
    [
      "nobody may have",
      "10.0.1.255",
      /^address 10\.0\.1\.255 of network n-b is reserved; choose another$/,
    ],
    [
      "is in no subnet of the network",
      "10.9.0.1",
      /^address 10\.9\.0\.1 is in no subnet of network n-b/,
    ],
  ] as const) {
    it(`has a task wait for an address that ${fact}`, () => {
      const scene = new Scene({
        networks: [back],
        targets: [{ target: "b", addresses: [address] }],
      });
      scene.endpoint();
      assert.match(String(scene.task(1)), reason);
    });
  }

  it("gives a task of an earlier spec the ports of its own", () => {
    const scene = new Scene({ ports: [{ ...published, publishMode: "host" }] });
    scene.endpoint();
    const spec = EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 9 })] });
    const endpoint = Endpoint.create({
      spec: { ...spec, ports: spec.ports.map((port) => ({ ...port, publishMode: "host" })) },
    });
    const task = Task.create({ id: "old", serviceId: "s", slot: 1, endpoint });
    const allocation = allocateTask(task, scene.surroundings);
    assert.equal(allocation.kind === "done" && allocation.endpoint?.ports[0]?.targetPort, 9);
  });

  it("waits with a task until its service has an endpoint", () => {
    const scene = new Scene({ networks: [back], targets: [{ target: "b" }] });
    assert.equal(scene.task(1), "");
  });
});
