/**
 * The steps from what the kernel holds to what it should hold. Pure.
 *
 * First what is to go, then the devices in the order in which they need each other, then what is on them. What is equal is
 * not touched, so that traffic goes on.
 */
import {
  addAddress,
  addRoute,
  addRule,
  type Command,
  type FileOf,
  isMadeOutside,
  makeLink,
  removeAddress,
  removeLink,
  removeRoute,
  removeRule,
  setLink,
  setUp,
} from "./links.ts";
import {
  emptySpace,
  hostSpace,
  type Link,
  type Plan,
  type Route,
  type SpaceState,
  swarmSpace,
} from "./model.ts";
import { addForwarding, addNeighbour, removeForwarding, removeNeighbour } from "./neighbours.ts";

/** One line of a batch. */
export interface Line extends Command {
  /** The container it is for; undefined for what all share. */
  readonly owner: string | undefined;
  /** It takes away what may be gone already. */
  readonly removes: boolean;
}

/** Lines for one namespace, and for one program where programs do it. */
export interface Batch {
  /** Key of the namespace; see `Plan`. */
  readonly space: string;
  readonly tool: "ip" | "ip6" | "bridge";
  readonly lines: readonly Line[];
}

/** Everything to do, in this order; batches of containers come last and do not depend on each other. */
export interface Steps {
  readonly batches: readonly Batch[];
  /** Settings to write after the batches, by namespace. */
  readonly settings: ReadonlyMap<string, readonly (readonly [path: string, value: string])[]>;
}

/** @param before What there is; a namespace that is missing holds nothing. Those missing from `after` are left alone. */
export function diff(before: Plan, after: Plan, fileOf: FileOf): Steps {
  const broken = brokenLinks(before, after);
  const writer = new Writer();
  const spaces = [hostSpace, swarmSpace, ...containersOf(after)];
  const states = spaces.map((space) => {
    const is = before.get(space) ?? emptySpace;
    const should = after.get(space) ?? emptySpace;
    const remade = remadeLinks(is, should, broken.get(space) ?? new Set());
    return { space, is: withoutDevices(is, remade), should, remade };
  });
  for (const { space, is, should, remade } of states) {
    if (after.has(space)) removals(writer, { space, is, should, remade });
  }
  for (const { space, is, should } of states) makeLinks(writer, { space, is, should, fileOf });
  const settings = new Map<string, readonly (readonly [string, string])[]>();
  for (const { space, is, should } of states) {
    additions(writer, { space, is, should });
    const changed = [...should.settings].filter(([path, value]) => is.settings.get(path) !== value);
    if (changed.length > 0) settings.set(space, changed);
  }
  return { batches: writer.batches(spaces), settings };
}

/** Whether there is nothing to do. */
export function isNothing({ batches, settings }: Steps): boolean {
  return batches.length === 0 && settings.size === 0;
}

function containersOf(plan: Plan): string[] {
  return [...plan.keys()].filter((space) => space !== hostSpace && space !== swarmSpace);
}

/** Collects lines; all of one stage, namespace and tool become one batch. */
class Writer {
  readonly #lines = new Map<
    string,
    { batch: Omit<Batch, "lines">; stage: number; lines: Line[] }
  >();

  add(
    stage: number,
    batch: Omit<Batch, "lines">,
    line: Command & { owner?: string | undefined; removes?: boolean },
  ): void {
    const key = `${stage} ${batch.tool} ${batch.space}`;
    const found = this.#lines.get(key) ?? { batch, stage, lines: [] };
    this.#lines.set(key, found);
    found.lines.push({ owner: undefined, removes: false, ...line });
  }

  batches(spaces: readonly string[]): Batch[] {
    const place = new Map(spaces.map((space, position) => [space, position]));
    const sorted = [...this.#lines.values()]
      .sort((a, b) => {
        const places = (place.get(a.batch.space) ?? 0) - (place.get(b.batch.space) ?? 0);
        return a.stage - b.stage || places;
      })
      .map(({ batch, lines }) => ({ ...batch, lines }));
    const merged: Batch[] = [];
    for (const batch of sorted) {
      const last = merged.at(-1);
      // Each batch is a program to start.
      if (last?.space !== batch.space || last.tool !== batch.tool) merged.push(batch);
      else merged[merged.length - 1] = { ...last, lines: [...last.lines, ...batch.lines] };
    }
    return merged;
  }
}

/** Removals come first; devices before what is on them, tunnels after the bridges they are ports of. */
const stages = { remove: 0, links: 1, tunnels: 2, set: 3, contents: 4, forwarding: 5 } as const;

/** Devices whose other end is gone from a namespace that was looked into: nothing but making both anew helps. */
function brokenLinks(before: Plan, after: Plan): Map<string, Set<string>> {
  const broken = new Map<string, Set<string>>();
  for (const [space, state] of after) {
    for (const { name, peer } of state.links.values()) {
      if (peer === undefined || before.get(space)?.links.has(name) !== true) continue;
      const there = before.get(peer.space);
      if (there === undefined || there.links.has(peer.name)) continue;
      const names = broken.get(space) ?? new Set();
      broken.set(space, names.add(name));
    }
    // The end that is made with another one goes with that.
    for (const { name, kind, peer } of state.links.values()) {
      if (kind !== "veth" || peer !== undefined || before.get(space)?.links.has(name) !== true) {
        continue;
      }
      const owner = ownerOf(after, space, name);
      if (owner !== undefined && before.get(owner.space)?.links.has(owner.name) !== true) {
        broken.set(space, (broken.get(space) ?? new Set()).add(name));
      }
    }
  }
  return broken;
}

function ownerOf(plan: Plan, space: string, name: string) {
  const candidates = space === swarmSpace ? [hostSpace] : [swarmSpace];
  for (const candidate of candidates) {
    for (const link of plan.get(candidate)?.links.values() ?? []) {
      if (link.peer?.space === space && link.peer.name === name) {
        return { space: candidate, name: link.name };
      }
    }
  }
  return undefined;
}

/** Devices that have to be made anew. */
function remadeLinks(is: SpaceState, should: SpaceState, broken: ReadonlySet<string>): Set<string> {
  const remade = new Set(broken);
  for (const [name, link] of should.links) {
    const found = is.links.get(name);
    if (found !== undefined && !isSameDevice(found, link)) remade.add(name);
  }
  return remade;
}

function isSameDevice(a: Link, b: Link): boolean {
  if (a.kind !== b.kind) return false;
  const [x, y] = [a.vxlan, b.vxlan];
  if (x === undefined || y === undefined) return x === y;
  // The device it sends through is in another namespace, and not told there; it goes with that device.
  return x.id === y.id && x.local === y.local && x.port === y.port;
}

/** The state as it is once these devices are gone. */
function withoutDevices(state: SpaceState, devices: ReadonlySet<string>): SpaceState {
  if (devices.size === 0) return state;
  const keep = <T extends { readonly device: string }>(map: ReadonlyMap<string, T>) =>
    new Map([...map].filter(([, { device }]) => !devices.has(device)));
  return {
    links: new Map([...state.links].filter(([name]) => !devices.has(name))),
    addresses: keep(state.addresses),
    routes: keep(state.routes),
    rules: state.rules,
    neighbours: keep(state.neighbours),
    forwarding: keep(state.forwarding),
    settings: new Map([...state.settings].filter(([path]) => !devices.has(deviceOf(path)))),
  };
}

function deviceOf(settingPath: string): string {
  return settingPath.split("/")[3] ?? "";
}

interface Sides {
  readonly space: string;
  readonly is: SpaceState;
  readonly should: SpaceState;
}

function removals(
  writer: Writer,
  { space, is, should, remade }: Sides & { remade: ReadonlySet<string> },
): void {
  const owner = isShared(space) ? undefined : space;
  const gone = new Set(remade);
  for (const name of is.links.keys()) if (!should.links.has(name)) gone.add(name);
  const put = (tool: Batch["tool"], command: Command) =>
    writer.add(stages.remove, { space, tool }, { ...command, owner, removes: true });
  const old = <T extends { readonly device: string }>(
    before: ReadonlyMap<string, T>,
    after: ReadonlyMap<string, T>,
  ) => missing(after, before).filter(({ device }) => !gone.has(device));
  for (const [key, rule] of is.rules) {
    if (should.rules.has(key)) continue;
    put(rule.family === 4 ? "ip" : "ip6", removeRule(rule));
  }
  const routes = old(is.routes, should.routes);
  const replaced = routes.length === 0 ? none : replacedRoutes(should);
  for (const route of routes) {
    // One with the same destination takes its place.
    if (!replaced.has(routeTarget(route))) put("ip", removeRoute(route));
  }
  const neighbours = old(is.neighbours, should.neighbours);
  const kept = neighbours.length === 0 ? none : new Set(texts(should.neighbours, neighbourTarget));
  for (const neighbour of neighbours) {
    if (!kept.has(neighbourTarget(neighbour))) put("ip", removeNeighbour(neighbour));
  }
  for (const entry of old(is.forwarding, should.forwarding)) put("bridge", removeForwarding(entry));
  for (const address of old(is.addresses, should.addresses)) put("ip", removeAddress(address));
  for (const name of gone) put("ip", removeLink(name));
}

const none: ReadonlySet<string> = new Set();

/** Entries of `after` that `before` lacks. */
function missing<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): T[] {
  const found: T[] = [];
  if (before === after) return found;
  for (const [key, item] of after) if (!before.has(key)) found.push(item);
  return found;
}

/** Destinations whose routes the kernel replaces; those of IPv6 stay beside each other. */
function replacedRoutes({ routes }: SpaceState): Set<string> {
  const found = new Set<string>();
  for (const route of routes.values()) {
    if (!isSix(route)) found.add(routeTarget(route));
  }
  return found;
}

function routeTarget(route: Route): string {
  return `${route.destination} ${route.table} ${route.metric} ${isSix(route)}`;
}

function isSix({ destination, via }: Route): boolean {
  return `${destination}${via}`.includes(":");
}

function neighbourTarget({ device, address }: { device: string; address: string }): string {
  return `${device} ${address}`;
}

function texts<T>(items: ReadonlyMap<string, T>, textOf: (item: T) => string): string[] {
  return [...items.values()].map(textOf);
}

function makeLinks(
  writer: Writer,
  { space, is, should, fileOf }: Sides & { fileOf: FileOf },
): void {
  for (const link of should.links.values()) {
    const found = is.links.get(link.name);
    const owner = isShared(space) ? link.peer && ownerIn(link.peer.space) : space;
    const isMade = link.kind !== "veth" || link.peer !== undefined;
    if (found === undefined && isMade) {
      const isOutside = isMadeOutside(link);
      const at = { space: isOutside ? hostSpace : space, tool: "ip" as const };
      const stage = isOutside ? stages.tunnels : stages.links;
      writer.add(stage, at, { ...makeLink(link, { space }, fileOf), owner });
    }
    if (found === undefined || isChanged(found, link)) {
      for (const command of setLink(link)) {
        writer.add(stages.set, { space, tool: "ip" }, { ...command, owner });
      }
    }
  }
}

function isShared(space: string): boolean {
  return space === hostSpace || space === swarmSpace;
}

function ownerIn(space: string): string | undefined {
  return isShared(space) ? undefined : space;
}

function isChanged(is: Link, should: Link): boolean {
  return (
    (should.mtu > 0 && is.mtu !== should.mtu) ||
    (should.mac !== "" && is.mac !== should.mac) ||
    is.master !== should.master ||
    is.hairpin !== should.hairpin
  );
}

function additions(writer: Writer, { space, is, should }: Sides): void {
  const owner = isShared(space) ? undefined : space;
  const put = (tool: Batch["tool"], command: Command, stage: number = stages.contents) =>
    writer.add(stage, { space, tool }, { ...command, owner });
  if (space !== hostSpace && is.links.size === 0) put("ip", setUp("lo"), stages.set);
  for (const address of missing(is.addresses, should.addresses)) put("ip", addAddress(address));
  for (const route of missing(is.routes, should.routes)) put("ip", addRoute(route));
  for (const one of missing(is.neighbours, should.neighbours)) put("ip", addNeighbour(one));
  for (const rule of missing(is.rules, should.rules)) {
    put(rule.family === 4 ? "ip" : "ip6", addRule(rule));
  }
  for (const entry of missing(is.forwarding, should.forwarding)) {
    put("bridge", addForwarding(entry), stages.forwarding);
  }
}
