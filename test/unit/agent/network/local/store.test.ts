/**
 * What a node's own networks keep over a restart of the daemon, and over a crash of the machine.
 */
import { deepEqual, equal } from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Kept,
  type KeptContainer,
  LocalStore,
} from "../../../../../agent/network/local/store.ts";
import type { LocalNetwork, NetworkPlace } from "../../../../../src/common/container/networks.ts";
import { silentLog } from "../../../../../src/common/log/log.ts";

const placeAt = (address: string): NetworkPlace => ({
  networkId: "n",
  networkName: "bridge",
  endpointId: "e",
  address,
  prefixLength: 16,
  gateway: "172.17.0.1",
  address6: "",
  prefixLength6: 0,
  gateway6: "",
  macAddress: "",
  aliases: [],
});
const network: LocalNetwork = {
  id: "n",
  name: "own",
  driver: "bridge",
  labels: {},
  options: {},
  internal: false,
  ipv6: false,
  ipam: undefined,
  createdAtMs: 0,
  subnets: [],
  predefined: false,
};
const joins = [
  { network: "bridge", aliases: [], addresses: [], macAddress: "", driverOptions: {} },
];
const at = (address: string, more: Partial<KeptContainer> = {}): KeptContainer => ({
  places: [placeAt(address)],
  ports: [],
  ...more,
});
const all = (containers: Kept["containers"]): Kept => ({
  format: 1,
  bridge: [],
  networks: [],
  containers,
});

describe("agent/network/local/store", () => {
  let folder: string;
  let path: string;
  let store: LocalStore;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-test-"));
    path = join(folder, "network", "local.json");
    store = new LocalStore(path, join(folder, "places"));
    equal(store.load(silentLog), undefined);
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("gives back what was saved", async () => {
    const networks: LocalNetwork[] = JSON.parse(JSON.stringify([network]));
    await store.save({ ...all({ a: at("172.17.0.2", { joins }), b: at("172.17.0.3") }), networks });
    store.keepPlaces("a", at("172.17.0.2"));
    deepEqual(store.load(silentLog), {
      ...all({ a: at("172.17.0.2", { joins }) }),
      networks,
    });
    // After a boot, or the end of the last container.
    rmSync(join(folder, "places"), { recursive: true });
    const { containers } = store.load(silentLog) ?? {};
    deepEqual(containers, { a: { places: [], ports: [], joins } });
  });

  it("gives back the places as they were last, and what containers were connected to", async () => {
    await store.save(all({ a: at("172.17.0.2", { joins }), b: at("172.17.0.3") }));
    const saved = readFileSync(path, "utf8");
    store.keepPlaces("a", at("172.17.0.4", { joins }));
    store.keepPlaces("c", at("172.17.0.5"));
    const next = () => new LocalStore(path, join(folder, "places")).load(silentLog);
    deepEqual(next(), all({ a: at("172.17.0.4", { joins }), c: at("172.17.0.5") }));
    store.keepPlaces("a", { places: [], ports: [] });
    store.keepPlaces("c", undefined);
    deepEqual(next(), all({ a: { places: [], ports: [], joins } }));
    // The disk had nothing to do with it.
    equal(readFileSync(path, "utf8"), saved);
  });

  it("takes nothing that was cut off", async () => {
    await store.save(all({}));
    store.keepPlaces("a", at("172.17.0.3"));
    writeFileSync(join(folder, "places/b.json"), "");
    writeFileSync(join(folder, "places/c.json.new"), "{");
    deepEqual(store.load(silentLog), all({ a: at("172.17.0.3") }));
    deepEqual(readdirSync(join(folder, "places")), ["a.json"]);
  });

  it("takes places over that an earlier version kept with the networks", async () => {
    await store.save(all({}));
    writeFileSync(path, JSON.stringify(all({ b: at("172.17.0.3") })));
    deepEqual(store.load(silentLog), all({ b: at("172.17.0.3") }));
    store.keepPlaces("c", at("172.17.0.5"));
    deepEqual(store.load(silentLog), all({ b: at("172.17.0.3"), c: at("172.17.0.5") }));
  });
});
