/**
 * Where containerd keeps what it knows of containers that run, and when that may go.
 */
import { deepEqual, equal } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  bundlesFolder,
  type ContainerdPlaces,
  removeState,
  withEarlierState,
} from "../../../../../agent/exec/containerd/daemon-process.ts";

describe("agent/exec/containerd/daemon-process", () => {
  let dir: string;
  let places: ContainerdPlaces;
  let earlier: string;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "skep-places-"));
    places = {
      folder: join(dir, "data"),
      stateFolder: join(dir, "memory"),
      socketPath: join(dir, "c.sock"),
    };
    earlier = join(places.folder, "state");
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const bundle = (state: string) => join(state, bundlesFolder, "skep", "c1");

  it("leaves alone what an earlier version keeps on the disk of containers that run", () => {
    mkdirSync(bundle(earlier), { recursive: true });
    deepEqual(withEarlierState(places), { ...places, stateFolder: earlier });
    equal(existsSync(bundle(earlier)), true);
  });

  it("takes the folder in memory once nothing runs from the other, and removes that", () => {
    mkdirSync(join(earlier, bundlesFolder, "skep"), { recursive: true });
    deepEqual(withEarlierState(places), places);
    equal(existsSync(earlier), false);
    deepEqual(withEarlierState(places), places);
  });

  it("leaves the folder on the disk to a containerd that runs with it", async () => {
    mkdirSync(earlier, { recursive: true });
    const config = join(places.folder, "config.toml");
    const child = spawn("sleep", ["100"], { argv0: config, stdio: "ignore" });
    try {
      await once(child, "spawn");
      const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8");
      const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
      writeFileSync(join(places.folder, "containerd.pid"), `${child.pid} ${started}\n`);
      equal(withEarlierState(places).stateFolder, earlier);
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("removes no state in which a container has its bundle", () => {
    mkdirSync(bundle(places.stateFolder), { recursive: true });
    equal(removeState(places), false);
    rmSync(bundle(places.stateFolder), { recursive: true });
    equal(removeState(places), true);
    equal(existsSync(places.stateFolder), false);
    equal(removeState(places), true);
  });
});
