/**
 * What the thread that speaks to the kernel is asked to put at ports of bridges, and what it answers.
 */

/** File descriptors of the programs: where frames come in, and where they leave to a container or a VXLAN device. */
export interface Programs {
  readonly arriving: number;
  readonly toContainer: number;
  readonly toTunnel: number;
}

/** Ports that are to have programs. */
export interface PutRequest {
  /** Undefined: to be loaded. `none`: the ports are to have none of ours, which earlier lives of the daemon may have put there. */
  readonly programs: Programs | "none" | undefined;
  /** Names of devices, and whether a container is behind them. */
  readonly ports: ReadonlyMap<string, boolean>;
  /** Those that are so already, by name with their numbers. */
  readonly known: ReadonlyMap<string, number>;
}

/** What came of it. */
export interface PutAnswer {
  readonly programs: Programs | "none";
  readonly known: ReadonlyMap<string, number>;
}
