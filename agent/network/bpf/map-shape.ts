/**
 * What a map of the kernel is made with, which programs and the daemon share.
 */

/** A map of the kernel. */
export interface MapShape {
  /** BPF_MAP_TYPE_… */
  readonly type: number;
  /** Bytes. */
  readonly key: number;
  readonly value: number;
  /** 0 where something else is the limit. */
  readonly entriesMax: number;
  /** BPF_F_…; none when undefined. */
  readonly flags?: number;
}
