/**
 * Random lives of networks, services and attachments under changing leaders: nothing is given twice, nothing is lost.
 *
 * What is given out is looked at whenever all is quiet; in the end everything is taken away, and must be there to be given
 * once more.
 */
import assert from "node:assert/strict";
import { attachNetwork, detachNetwork } from "../../../../manager/control/attachments.ts";
import { mayRun } from "../../../../manager/state/uniqueness.ts";
import {
  AttachNetworkRequest,
  DetachNetworkRequest,
  Driver,
  EndpointSpec,
  IpamConfig,
  IpamOptions,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  PortConfig,
  type ServiceSpec,
  TaskSpec,
} from "../../../../src/common/api/generated/api.ts";
import { type Random, seededRandom } from "../../../../src/common/random/random.ts";
import { contains, overlaps, parseAddress, parsePrefix } from "../../../../src/common/spec/cidr.ts";
import { FakeCluster } from "../../../support/fake-cluster.ts";

const networkNames = ["a", "b", "c", "d"];
const serviceNames = ["s1", "s2", "s3"];
const containers = ["k1", "k2", "k3"];

/** One life from a seed. */
class Life {
  readonly cluster: FakeCluster;
  isEnding = false;
  readonly #random: Random;
  /** Some writes are refused, for what they name is gone or taken; they are no matter here. */
  readonly #refused = () => {};

  constructor(seed: number) {
    this.cluster = new FakeCluster(seed);
    this.#random = seededRandom(seed);
    // Some tasks fail soon, and are replaced.
    this.cluster.command = ({ id }) =>
      !this.isEnding && id.charCodeAt(3) % 8 === 0 ? { endsAfterMs: 50, exitCode: 1 } : {};
  }

  async begin(): Promise<void> {
    await this.cluster.begin(3);
    await this.addNetwork("mesh", "10.255.0.0/16", true);
    for (const name of networkNames) await this.addNetwork(name);
  }

  /** Something happens. */
  async step(): Promise<void> {
    const { cluster } = this;
    const steps: readonly (() => void | Promise<void>)[] = [
      () => this.#createService(),
      () => this.#createService(),
      () => this.#update((spec) => ({ ...spec, ...this.#endpointAndNetworks() })),
      () => this.#update((spec) => ({ ...spec, mode: scaled(this.#random.int(9)) })),
      () => this.#update((spec) => ({ ...spec, mode: scaled(this.#random.int(9)) })),
      () => cluster.removeService(this.#pick(serviceNames)).catch(this.#refused),
      () => this.#changeNetwork(),
      () => this.#attach(),
      () => this.#detach(),
      () => cluster.setNode("n3", this.#random.int(2) === 0 ? "down" : "ready"),
      () => cluster.elect(),
      () => {
        cluster.isSlow = this.#random.int(3) === 0;
      },
    ];
    await this.#pick(steps)();
    await cluster.pass(10 * this.#random.int(30));
  }

  /** Everything comes to rest. */
  async quiet(): Promise<void> {
    const { cluster } = this;
    cluster.isSlow = false;
    await cluster.setNode("n3", "ready");
    for (let i = 0; i < 4; i++) await cluster.pass(1_000);
  }

  async addNetwork(name: string, subnet = "", ingress = false): Promise<void> {
    const configs = subnet === "" ? [] : [IpamConfig.create({ subnet })];
    const spec = NetworkSpec.create({
      annotations: { name, labels: {} },
      driver: Driver.create({ name: "overlay" }),
      ipv6Enabled: this.#random.int(3) === 0,
      ipam: IpamOptions.create({ configs }),
      attachable: !ingress,
      ingress,
    });
    const id = `${name}-${this.#random.int(1e9)}`;
    await this.cluster.store.update((tx) => tx.create("network", Network.create({ id, spec })));
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.int(list.length)] as T;
  }

  #endpointAndNetworks(): Pick<ServiceSpec, "endpoint" | "task"> {
    const all = this.cluster.store.view().list("network");
    const chosen = all.filter(({ spec }) => !spec?.ingress && this.#random.int(3) === 0);
    const isVip = this.#random.int(4) > 0;
    const ports = [80, 81].flatMap((targetPort) =>
      isVip && this.#random.int(2) === 0
        ? [PortConfig.create({ targetPort, publishedPort: this.#pick([0, 0, 30_000, 8_080]) })]
        : [],
    );
    return {
      endpoint: EndpointSpec.create({ mode: isVip ? "vip" : "dnsrr", ports }),
      task: TaskSpec.create({
        runtime: `app${this.#random.int(3)}`,
        networks: chosen.map(({ id }) => NetworkAttachmentConfig.create({ target: id })),
      }),
    };
  }

  async #createService(): Promise<void> {
    const parts = { spec: this.#endpointAndNetworks() };
    await this.cluster
      .createService(this.#pick(serviceNames), this.#random.int(9), parts)
      .catch(this.#refused);
  }

  async #update(change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    const name = this.#pick(serviceNames);
    if (this.cluster.store.view().get("service", name) === undefined) return;
    await this.cluster.updateService(name, change).catch(this.#refused);
  }

  /** Removes a network that nothing uses, or makes it, with a small subnet now and then. */
  async #changeNetwork(): Promise<void> {
    const { store } = this.cluster;
    const name = this.#pick(networkNames);
    const [found] = store.view().find("network", "name", name);
    if (found === undefined) {
      await this.addNetwork(name, this.#pick(["", "192.168.7.0/29", "10.0.0.0/23"]));
      return;
    }
    const { id } = found;
    await store.update((tx) => {
      const isUsed =
        tx.find("service", "network", id).length > 0 ||
        tx.list("task").some((task) => task.spec?.networks.some(({ target }) => target === id));
      if (!isUsed) tx.remove("network", id);
    });
  }

  async #attach(): Promise<void> {
    const { store, clock, random } = this.cluster;
    const nodeId = this.#pick(["n1", "n2"]);
    const [containerId, network] = [this.#pick(containers), this.#pick(networkNames)];
    const request = AttachNetworkRequest.create({
      nodeId,
      containerId,
      network,
      name: containerId,
    });
    const { signal } = new AbortController();
    attachNetwork(store, request, { clock, random, signal }).catch(this.#refused);
  }

  async #detach(): Promise<void> {
    const request = DetachNetworkRequest.create({
      nodeId: this.#pick(["n1", "n2"]),
      containerId: this.#pick(containers),
    });
    await detachNetwork(this.cluster.store, request).catch(this.#refused);
  }
}

function scaled(replicas: number) {
  return { replicated: { replicas } } as ServiceSpec["mode"];
}

/** Everything that was given out is given once, and whoever needs something has it. */
function check({ store }: FakeCluster): void {
  const view = store.view();
  const subnets = view.list("network").flatMap((one) =>
    (one.ipam?.configs ?? []).flatMap((config) => {
      const prefix = parsePrefix(config.subnet);
      return prefix === undefined ? [] : [{ id: one.id, config, prefix }];
    }),
  );
  for (const [i, a] of subnets.entries())
    for (const b of subnets.slice(i + 1)) assert.ok(!overlaps(a.prefix, b.prefix));
  const numbers = view.list("network").map(({ networkNumber }) => networkNumber);
  const given = numbers.filter((number) => number !== 0);
  assert.equal(new Set(given).size, given.length, "network numbers");
  const holders = new Map<string, string>();
  const take = (holder: string, networkId: string, text: string) => {
    const address = parseAddress(text.split("/")[0] ?? "");
    assert.ok(address !== undefined, text);
    const home = subnets.find(({ id, prefix }) => id === networkId && contains(prefix, address));
    assert.ok(home !== undefined, `${text} is in a subnet of ${networkId}`);
    assert.notEqual(text.split("/")[0], home.config.gateway);
    const key = `${networkId} ${text}`;
    assert.equal(holders.get(key), undefined, `${key} has one holder`);
    holders.set(key, holder);
  };
  for (const { id, endpoint } of view.each("service"))
    for (const vip of endpoint?.virtualIps ?? []) take(id, vip.networkId, vip.address);
  for (const task of view.each("task")) {
    if (!mayRun(task)) continue;
    for (const { networkId, addresses } of task.networks)
      for (const address of addresses) take(task.id, networkId, address);
    if (task.status?.state === "new") continue;
    const isGivenUp = task.status?.state === "pending" && task.desiredState !== "running";
    const wanted = task.spec?.networks.map(({ target }) => target) ?? [];
    for (const target of isGivenUp ? [] : wanted)
      assert.ok(task.networks.some((one) => one.networkId === target && one.addresses.length > 0));
  }
}

describe("manager/allocator: random lives", () => {
  for (let seed = 1; seed <= 6; seed++) {
    it(`gives nothing twice and loses nothing, from seed ${seed}`, async () => {
      const life = new Life(seed);
      const { cluster } = life;
      await life.begin();
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 25; i++) await life.step();
        await life.quiet();
        check(cluster);
        const waiting = cluster.store.view().list("task").filter(isWaiting);
        for (const { id, status } of waiting)
          assert.notEqual(status?.error, "", `${id} says why it waits`);
      }
      await everythingGoes(life);
      await allCanBeGivenAgain(life);
      const odd = cluster.warnings.filter((line) => line.includes("component=allocator"));
      assert.deepEqual(odd, []);
      await cluster.end();
    }).timeout(60_000);
  }
});

function isWaiting(task: { status: { state: string } | undefined; desiredState: string }): boolean {
  return task.status?.state === "new" && task.desiredState === "running";
}

async function everythingGoes(life: Life): Promise<void> {
  const { cluster } = life;
  const { store } = cluster;
  life.isEnding = true;
  await store.update((tx) => {
    for (const { id } of tx.list("service")) tx.remove("service", id);
    for (const task of tx.list("task"))
      if (task.spec?.attachment !== undefined) tx.remove("task", task.id);
  });
  await life.quiet();
  assert.deepEqual(store.view().list("task"), []);
}

/** Under the same leader, whose book must have nothing left in it. */
async function allCanBeGivenAgain(life: Life): Promise<void> {
  const { cluster } = life;
  await life.addNetwork("last", "192.168.9.0/28");
  await cluster.pass(100);
  for (const round of [1, 2]) {
    const [network] = cluster.store.view().find("network", "name", "last");
    const networks = [NetworkAttachmentConfig.create({ target: network?.id ?? "" })];
    const ports = Array.from({ length: 3 }, (_, i) => PortConfig.create({ targetPort: i + 1 }));
    await cluster.createService("all", 12, {
      spec: { task: TaskSpec.create({ networks }), endpoint: EndpointSpec.create({ ports }) },
    });
    await cluster.pass(2_000);
    const states = cluster.tasks("all").map(({ status }) => `${status?.state} ${status?.error}`);
    assert.equal(cluster.runningTasks("all").length, 12, `round ${round}: ${states}`);
    await cluster.removeService("all");
    await life.quiet();
  }
}
