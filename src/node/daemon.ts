/**
 * `skep daemon`: one process, one node, one Engine API.
 *
 * Order of the start: flags, lock on the data root, the runtime and the swarm part, the API's listeners: the first answer
 * already knows what the node is and runs. A start that waits for other managers does not hold the API back for long.
 * SIGTERM and SIGINT stop it in order, SIGHUP reads the configuration file again; whatever is not a `ClusterError` ends it,
 * for a supervisor to start it anew.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { dirname } from "node:path";
import { describeNode, readBinfmt, readHostFacts } from "../../agent/exec/containerd/describe.ts";
import { containerExecutor } from "../../agent/exec/containerd/executor.ts";
import { NodeRuntime } from "../../agent/exec/containerd/node-runtime.ts";
import { platformsOf } from "../../agent/exec/containerd/platforms.ts";
import { NetworkState } from "../../agent/network/state.ts";
import { systemClock } from "../common/clock/clock.ts";
import { ClusterError, errorText } from "../common/errors/cluster-error.ts";
import { cgroupParentOf, instanceOf } from "../common/ids/instance.ts";
import { type Log, newLog } from "../common/log/log.ts";
import { compileSoon } from "../common/memory/compile-soon.ts";
import { giveBackMemory, ownHeap } from "../common/memory/give-back.ts";
import { systemRandom } from "../common/random/random.ts";
import { Registry } from "../common/registry/registry.ts";
import { defaultTrustFolders } from "../common/registry/trust.ts";
import { isOfNode } from "../common/spec/local-volumes.ts";
import { EngineServer } from "../engine/server.ts";
import { type InterfaceAddress, parseHostPort } from "./address.ts";
import { attachmentsThrough } from "./attachments.ts";
import { eventsPort, objectsPort, tunnelsPort } from "./backend.ts";
import { type DaemonConfig, loadConfig, runtimeSocket } from "./config.ts";
import { readDaemonFacts, skepVersion } from "./facts.ts";
import { flagsHelp } from "./flags.ts";
import { lockInstance } from "./instance-lock.ts";
import { managersRegistry, prefersOffline } from "./managers-registry.ts";
import { SwarmNode } from "./node.ts";

/** How long a stop may take before the process ends all the same, milliseconds; Docker's daemon has 15 s. */
const stopTimeoutMs = 15_000;
/** Longest the API waits for the swarm part to start, milliseconds; Docker's daemon waits 20 s. */
const startTimeoutMs = 5_000;

/** Runs the daemon until a signal stops it. @throws ClusterError for bad flags or a data root that is in use. */
export async function runDaemon(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(`Usage: skep daemon [flags]\n\n${flagsHelp()}\n`);
    return;
  }
  if (argv.includes("--version") || argv.includes("-v")) {
    process.stdout.write(`Skep version ${skepVersion()}\n`);
    return;
  }
  compileSoon();
  const config = loadConfig(argv);
  const log = newLog((line) => process.stderr.write(`${line}\n`), { level: config.logLevel });
  const lock = lockInstance(config);
  try {
    await serve(config, log);
  } finally {
    lock.release();
  }
}

async function serve(config: DaemonConfig, log: Log): Promise<void> {
  for (const flag of config.ignoredFlags) log.warn("flag has no effect here", { flag });
  mkdirSync(config.execRoot, { recursive: true, mode: 0o711 });
  const stop = new AbortController();
  listenForSignals(config, log, stop);
  const { facts, registry, runtime, node, engine } = await assemble(config, log);
  const runtimeStop = new AbortController();
  const running = Promise.all([
    runtime.run(runtimeStop.signal),
    giveBackMemory(systemClock, ownHeap(), runtimeStop.signal),
  ]);
  const serving = engine.run(stop.signal);
  const started = node.start();
  const settled = Promise.all([started, runtime.settled()]);
  void settled.then(() => runtime.clean());
  await Promise.race([settled, aborted(stop.signal), startTimeout()]);
  try {
    for (const host of config.hosts) await listen(engine, host, config, log);
  } catch (error) {
    // What listens already would keep the process alive.
    stop.abort();
    await serving;
    await node.stop();
    runtimeStop.abort();
    await running;
    throw error;
  }
  log.info("daemon started", { version: facts.version, data: config.dataRoot });
  await aborted(stop.signal);
  const timer = setTimeout(() => {
    log.error("stop took too long", { ms: stopTimeoutMs });
    process.exit(1);
  }, stopTimeoutMs);
  timer.unref();
  await node.stop();
  registry.close();
  await serving;
  runtimeStop.abort();
  await running;
  log.info("daemon stopped");
}

/** Makes the parts of the daemon and joins them; none of them runs yet. */
async function assemble(config: DaemonConfig, log: Log) {
  const tools = { clock: systemClock, random: systemRandom, log };
  const facts = readDaemonFacts(config);
  const host = readHostFacts();
  const registry = registriesOf(config);
  const network = new NetworkState(tools);
  const runtime = await NodeRuntime.open({
    ...tools,
    ...config,
    engineId: facts.engineId,
    instance: instanceOf(config.dataRoot),
    cgroupParent: cgroupParentOf(config.dataRoot),
    socketPath: runtimeSocket(config, "containerd"),
    runtime: "",
    registry,
    cluster: network,
    attachments: attachmentsThrough(() => node.attachments),
    // Asked for each container; what the processor can do stays as it is.
    platforms: () => platformsOf({ ...host, binfmt: readBinfmt() }),
    log: log.with({ component: "runtime" }),
  });
  const node: SwarmNode = new SwarmNode({
    ...tools,
    config,
    interfaces,
    // The key of its data path is as old as the certificate.
    renewed: () => runtime.rotateNetworkKey(),
    network,
    executor: containerExecutor({
      ...tools,
      runtime,
      describe: () =>
        describeNode(readHostFacts(), {
          version: facts.version,
          labels: config.engineLabels,
          generic: config.genericResources,
          warnings: runtime.facts().warnings,
          localVolumes: runtime.volumes
            .list()
            .filter(({ anonymous, options }) => !anonymous && isOfNode(options))
            .map(({ name }) => name),
          ...runtime.wireguardPublicKeys(),
        }),
      loaded: runtime.loaded,
      drain: (container, signal) => runtime.drain(container, signal),
      preferLocal: prefersOffline(process.env),
    }),
    registry: managersRegistry(registry, prefersOffline(process.env)),
    serveTunnel: (stream) => engine.serveTunnel(stream),
  });
  const engine: EngineServer = new EngineServer({
    ...tools,
    ports: {
      swarm: node,
      objects: objectsPort(node),
      events: eventsPort(node),
      tunnels: tunnelsPort(node),
      runtime,
      registry,
      facts,
    },
  });
  return { facts, registry, runtime, node, engine };
}

/** The registries, for the API, for the images of this node and, on managers, of services. */
function registriesOf(config: DaemonConfig): Registry {
  return new Registry({
    settings: config.registries,
    trust: defaultTrustFolders(),
    environment: process.env,
    clock: systemClock,
  });
}

/** Resolves when the API should answer whether the swarm part has started or not. */
function startTimeout(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, startTimeoutMs).unref());
}

async function listen(
  engine: EngineServer,
  host: string,
  config: DaemonConfig,
  log: Log,
): Promise<void> {
  if (host.startsWith("unix://")) {
    const path = host.slice("unix://".length);
    mkdirSync(dirname(path), { recursive: true });
    await engine.listenUnix(path, config.socketGroup);
    log.info("API listens", { host });
    return;
  }
  const { host: address, port } = parseHostPort(host.slice("tcp://".length), 2375, "--host");
  const { apiTls } = config;
  if (apiTls === undefined) {
    log.warn("API on TCP without TLS: whoever reaches it controls this machine", { host });
    await engine.listenTcp({ host: address, port });
    return;
  }
  const tls = {
    key: readPem(apiTls.key, "--tlskey"),
    certificate: readPem(apiTls.cert, "--tlscert"),
    ...(apiTls.verify ? { clientAuthority: readPem(apiTls.ca, "--tlscacert") } : {}),
  };
  await engine.listenTcp({ host: address, port, tls });
  log.info("API listens", { host, verify: apiTls.verify });
}

function readPem(path: string, flag: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ClusterError("invalid-argument", `${flag} ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function listenForSignals(config: DaemonConfig, log: Log, stop: AbortController): void {
  const end = (signal: NodeJS.Signals) => {
    log.info("stopping", { signal });
    stop.abort();
  };
  process.once("SIGTERM", end);
  process.once("SIGINT", end);
  process.on("SIGHUP", () => log.info("reloaded", { data: config.dataRoot }));
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function interfaces(): InterfaceAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([interfaceName, list]) =>
    (list ?? []).map(({ address, family, internal }) => ({
      interfaceName,
      address,
      family,
      internal,
    })),
  );
}
