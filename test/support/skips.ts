/**
 * The only tests that may be skipped, and why. `scripts/test.mjs` fails the run on any other skip, so that a test cannot
 * fall silent unseen.
 */

/** A test that may skip itself, and under which circumstance it is right to. */
export interface AllowedSkip {
  /** Matched against the full title: every `describe` and the `it`, joined by spaces. */
  readonly title: RegExp;
  /** What the machine or the folder lacks; printed beside the skipped test. */
  readonly reason: string;
}

/** Every skip that is not a failure. */
export const allowedSkips: readonly AllowedSkip[] = [
  {
    title: /raft.*oracle|oracle.*raft/i,
    reason: "the folder of etcd's scenario files (SKEP_RAFT_ORACLE) is not on this machine",
  },
  {
    title: /^platforms /,
    reason: "this kernel cannot be told of programs of other architectures (binfmt_misc)",
  },
  {
    title: /raft.*full disk/i,
    reason: "a small file system needs the right to mount one",
  },
];
