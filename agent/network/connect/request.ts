/**
 * What the thread that speaks to the kernel is asked to do for service addresses, and what it answers.
 */

/** File descriptors of the programs' maps, and of what keeps the programs at the control group. */
export interface Hooks {
  readonly spaces: number;
  readonly backends: number;
  readonly links: readonly number[];
}

/** One thing to do. */
export type HookJob =
  /** Loads the programs, and has them run. */
  | { readonly what: "load-hooks"; readonly namespace: undefined }
  /** Entries of the maps, one after the other: keys of namespaces that leave, backends that come, keys of those that go. */
  | {
      readonly what: "tell-hooks";
      readonly namespace: undefined;
      readonly hooks: Hooks;
      readonly left: Uint8Array;
      readonly come: Uint8Array;
      readonly gone: Uint8Array;
    }
  /** Tells what the programs know. */
  | { readonly what: "read-hooks"; readonly namespace: undefined; readonly hooks: Hooks }
  /** A namespace has a table. */
  | {
      readonly what: "enter-hooks";
      readonly namespace: string;
      readonly hooks: Hooks;
      readonly table: number;
    };

/** What programs and maps are in the kernel. */
export interface HeldHooks {
  /** Entries, key and value one after the other, in no order. */
  readonly spaces: Uint8Array;
  readonly backends: Uint8Array;
  /** Programs that are where sockets connect. */
  readonly linked: number;
}

/** What came of it. */
export interface HookAnswer {
  /** False for a namespace that cannot be entered, or has no room. */
  readonly ok: boolean;
  readonly output: string;
  readonly hooks?: Hooks;
  /** By which programs know the namespace. */
  readonly cookie?: Uint8Array;
  readonly held?: HeldHooks;
}
