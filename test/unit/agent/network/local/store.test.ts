/**
 * What a node's own networks keep over a restart of the daemon, and over a crash of the machine.
 */
import { deepEqual, equal } from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Kept,
  type KeptContainer,
  LocalStore,
} from "../../../../../agent/network/local/store.ts";
import type { NetworkPlace } from "../../../../../src/common/container/networks.ts";
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
    store = new LocalStore(path);
    equal(store.load(silentLog), undefined);
  });

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("gives back what was saved", async () => {
    await store.save(all({ a: at("172.17.0.2", { joins }) }));
    deepEqual(store.load(silentLog), all({ a: at("172.17.0.2", { joins }) }));
  });

  it("gives back the places as they were last, and what containers were connected to", async () => {
    await store.save(all({ a: at("172.17.0.2", { joins }), b: at("172.17.0.3") }));
    const saved = readFileSync(path, "utf8");
    store.keepPlaces({ a: at("172.17.0.4", { joins }), c: at("172.17.0.5") });
    deepEqual(store.load(silentLog), all({ a: at("172.17.0.4", { joins }), c: at("172.17.0.5") }));
    store.keepPlaces({});
    deepEqual(store.load(silentLog), all({ a: { places: [], ports: [], joins } }));
    // The disk had nothing to do with it.
    equal(readFileSync(path, "utf8"), saved);
  });

  it("goes by the networks' file where the places were cut off, or are of before there were any", async () => {
    await store.save(all({ b: at("172.17.0.3") }));
    writeFileSync(`${path}.places`, "");
    deepEqual(store.load(silentLog), all({ b: at("172.17.0.3") }));
    rmSync(`${path}.places`);
    deepEqual(store.load(silentLog), all({ b: at("172.17.0.3") }));
  });
});
