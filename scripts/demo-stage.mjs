/**
 * What the demo is played on: five simulated hosts of three kinds with a registry beside them and a caller outside, the
 * commands that are shown, and what is proved. Removes all of it in the end.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { labAddress } from "../build/src/playground/lab.js";
import { Playground } from "../build/src/playground/playground.js";
import { run } from "../build/src/playground/run.js";
import { dockerClients } from "../build/test/support/docker.js";
import { OutsideClient } from "../build/test/support/outside.js";
import { pushTestImagesTo, startRegistry } from "../build/test/support/registry.js";
import { shopFolder } from "../build/test/support/shop.js";
import { until } from "../build/test/support/wait.js";

export const managers = ["m1", "m2", "m3"];
export const workers = ["w1", "w2"];
export const nodes = [...managers, ...workers];
/** What each worker passes for; the others are what this machine is. */
export const platforms = { w1: "linux/arm64", w2: "linux/arm/v7" };

/** Longest that one part of clearing up may take before the next is begun. */
const partLimitMs = 180_000;
const downsMax = 3;

const skepProgram = fileURLToPath(new URL("../build/src/bin/skep.js", import.meta.url));

export class Stage {
  /** The last client in the list is the one on the PATH, which a user would take. */
  client = dockerClients().at(-1)?.path ?? "docker";
  folder = mkdtempSync(join(tmpdir(), "skep-demo-"));
  /** A copy of the example, to be changed. */
  shop = join(this.folder, "shop");
  lab = Playground.create({
    ...{ dir: join(this.folder, "lab"), name: "demo", nodes, platforms },
  });
  /** Variables of the example's file. */
  variables = {};
  /** Who calls from outside; undefined before `startCaller`. */
  caller;
  /** Why nothing more is to be done; undefined while there is no reason. */
  stopped;
  #say;
  #registry;

  /** @param say Takes the lines that are shown. */
  constructor(say) {
    this.#say = say;
    cpSync(shopFolder, this.shop, { recursive: true });
  }

  /** Shows lines of text, indented. */
  say(text, indent = "  ") {
    this.#say(text.trimEnd().replace(/^/gm, indent));
  }

  /** Starts the registry and pushes the shop's images into it; resolves with what its images are called, but for the tag. */
  async startRegistry() {
    const networkOf = this.lab.labPid();
    this.#registry = await startRegistry({ host: labAddress, port: 5000, networkOf });
    await pushTestImagesTo(this.#registry.address, { networkOf, also: "shop" });
    return `${this.#registry.address}/shop`;
  }

  async startCaller() {
    const at = { labPid: this.lab.labPid(), name: "outside", address: "10.77.0.101" };
    this.caller = await OutsideClient.start(at);
  }

  /**
   * Runs docker against a node and shows it; resolves with what it printed. `codes` are those that count as success, and
   * `allowed` is what a failure may say without being one.
   *
   * @throws Error when the command fails.
   */
  async docker(node, words, options = {}) {
    return this.#command(node, "docker", [this.client], words, options);
  }

  /** The same for our own command. */
  async skep(node, words, options = {}) {
    return this.#command(node, "skep", [process.execPath, skepProgram], words, options);
  }

  /** Runs docker without showing it; resolves with what it printed, trimmed. @throws Error when the command fails. */
  async ask(node, words) {
    return (await this.docker(node, words, { quiet: true })).trim();
  }

  /** Whether a docker command works, which is not shown. */
  async works(node, words, input = "") {
    this.#check();
    const options = { client: this.client, input, timeoutMs: 20_000 };
    return (await this.lab.docker(node, words, options)).code === 0;
  }

  async #command(node, name, program, words, { quiet, input = "", codes = [0], allowed }) {
    this.#check();
    const shown = words.map((word) => (word.startsWith("SWMTKN") ? "SWMTKN-..." : word));
    const line = `${node}$ ${name} ${shown.join(" ").replaceAll(this.folder, "")}`;
    if (!quiet) this.say(line);
    const { DOCKER_CONTEXT: _context, DOCKER_TLS_VERIFY: _tls, ...inherited } = process.env;
    const host = `unix://${this.lab.node(node).socket}`;
    const env = { ...inherited, ...this.variables, DOCKER_HOST: host };
    const { code, stdout, stderr } = await run([...program, ...words], { env, input });
    if (!quiet) this.say(stdout, "    ");
    if (!codes.includes(code) && allowed?.test(stderr) !== true)
      throw new Error(`${line}: exit ${code}: ${stderr.trim()}`);
    return stdout;
  }

  /** Waits for something; the failure says what was not so. */
  async until(what, condition, withinMs = 180_000) {
    const isSo = async () => {
      if (this.stopped !== undefined) return true;
      return condition();
    };
    const value = await until(isSo, { withinMs, everyMs: 200, what });
    this.#check();
    return value;
  }

  /** Shows that something is so. @throws Error when it is not. */
  prove(what, isSo, found = "") {
    if (!isSo) throw new Error(`not so: ${what}${found === "" ? "" : ` (${found})`}`);
    this.say(`proved: ${what}`);
  }

  #check() {
    if (this.stopped !== undefined) throw this.stopped;
  }

  /** Removes everything; goes on when a part of it fails. @throws Error with all that failed, and what helps. */
  async clear() {
    const failures = [];
    const parts = {
      "the caller": () => this.caller?.stop(),
      "the registry": () => this.#registry?.stop(),
      "the hosts": () => this.#down(),
    };
    for (const [name, part] of Object.entries(parts)) {
      const ended = Promise.resolve()
        .then(part)
        .then(
          () => undefined,
          (error) => `${name}: ${error.message}`,
        );
      const late = new Promise((resolve) => {
        setTimeout(resolve, partLimitMs, `${name}: not within ${partLimitMs / 1000} s`);
      });
      const failure = await Promise.race([ended, late]);
      if (failure !== undefined) failures.push(failure);
    }
    if (failures.length === 0) {
      rmSync(this.folder, { recursive: true, force: true });
      return;
    }
    const help = `node ${skepProgram} playground down --dir ${this.lab.dir}`;
    throw new Error(`not everything is removed: ${failures.join("; ")}; try: ${help}`);
  }

  /** Takes the hosts down, again if it fails: one that was starting when the demo was stopped may have come up meanwhile. */
  async #down() {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.lab.down();
        return;
      } catch (error) {
        if (attempt === downsMax) throw error;
      }
    }
  }
}
