/**
 * What the thread that speaks to the kernel is asked to put at devices, and what it answers.
 */

/** What goes past something: frames past bridges, or streams of published ports past tracking, rules and routes. */
export type ShortcutKind = "frames" | "streams";

/** File descriptors of the programs: where packets come in, and where they leave past a link or by a device. */
export interface Programs {
  readonly arriving: number;
  readonly toContainer: number;
  readonly toTunnel: number;
  /** The map with the number of the last change, where the programs look at one. */
  readonly changes?: number;
}

/** Devices that are to have programs. */
export interface PutRequest {
  readonly of: ShortcutKind;
  /** Undefined: to be loaded. `none`: the ports are to have none of ours, which earlier lives of the daemon may have put there. */
  readonly programs: Programs | "none" | undefined;
  /** Names of devices, and whether another namespace is behind them. */
  readonly ports: ReadonlyMap<string, boolean>;
  /** Those that are so already, by name with their numbers. */
  readonly known: ReadonlyMap<string, number>;
  /** Number of the last change: what programs know from before it counts no more. */
  readonly change: number;
}

/** What came of it. */
export interface PutAnswer {
  readonly programs: Programs | "none";
  readonly known: ReadonlyMap<string, number>;
}
