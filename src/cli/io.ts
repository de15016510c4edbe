/**
 * What a command of the command line works with, beside its words.
 */

/** Where its words go, and the caller's variables. */
export interface CommandIo {
  readonly environment: NodeJS.ProcessEnv;
  readonly out: (text: string) => void;
  readonly fail: (text: string) => void;
}
