/**
 * What reading a project needs of the machine: handed in, so that everything from text to specs is pure.
 */

/** Files as a project sees them. */
export interface ProjectFiles {
  /** The bytes of a file as text; `-` is standard input. @throws ClusterError not-found, permission-denied */
  readonly read: (path: string) => string;
  /** As base64, for payloads that are no text. @throws ClusterError not-found, permission-denied */
  readonly readBase64: (path: string) => string;
  readonly exists: (path: string) => boolean;
  /** An absolute path; `~` is the home of the caller. */
  readonly resolve: (folder: string, path: string) => string;
  readonly folderOf: (path: string) => string;
}

/** Something the user should hear of, once. */
export interface Warning {
  /** `compose.yaml:3:5`; empty when it is about no place. */
  readonly place: string;
  readonly text: string;
}
