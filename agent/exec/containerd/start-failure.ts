/**
 * Why a container could not be started: what runc and crun say, as exit code and words of Docker. Pure.
 */
import { ClusterError, type ErrorCode } from "../../../src/common/errors/cluster-error.ts";

/** Codes that a command has which could not be run, as shells give them. */
const notFound = 127;
const notRunnable = 126;
/** Everything else that went wrong before the program ran. */
const notStarted = 128;

/** Exit code and error of a start that failed. */
export function startFailure(error: unknown): { exitCode: number; error: ClusterError } {
  if (!(error instanceof ClusterError)) throw error;
  if (error.code !== "unknown") return { exitCode: notStarted, error };
  const text = error.message;
  const exitCode = exitCodeOf(text);
  const code: ErrorCode = exitCode === notStarted ? "unknown" : "invalid-argument";
  return {
    exitCode,
    error: new ClusterError(code, `failed to create task for container: ${familiar(text)}`, {
      cause: error,
    }),
  };
}

function exitCodeOf(text: string): number {
  if (/executable file.*not found|not found in \$PATH|no such file or directory/i.test(text)) {
    // A missing source of a mount is no missing command.
    return /mount/i.test(text) ? notStarted : notFound;
  }
  if (
    /permission denied|exec format error|is a directory|not a directory|open executable/i.test(text)
  ) {
    return notRunnable;
  }
  return notStarted;
}

/** What crun says in the words of runc, by which the docker client knows the exit code. */
function familiar(text: string): string {
  return (
    text
      .replace(
        /executable file `(.*?)` not found in \$PATH: No such file or directory/,
        'exec: "$1": executable file not found in $PATH',
      )
      // A folder, or a file that may not be run.
      .replace(/\bopen executable: Operation not permitted/, "open executable: permission denied")
      .replace(/\b(Permission denied|No such file or directory|Is a directory)\b/g, (words) =>
        words.toLowerCase(),
      )
  );
}
