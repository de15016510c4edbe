/**
 * How an agent says that an image is not for its node: the scheduler goes by that where the registry does not tell. Pure.
 *
 * Docker's and containerd's words, which users look for; whoever writes such a message begins with one of these.
 */

/** The index has no image for the node. */
export const noMatchingManifest = "no matching manifest for";
/** The image says of itself that it is for another platform. */
export const wrongPlatform = "does not match the specified platform";
/** The kernel cannot run the program. */
const execFormat = "exec format error";
/** In Docker's explanation of tasks that have no node. */
export const unsupportedPlatform = "unsupported platform";

/** Whether the error of a task says that its node cannot run the image. */
export function isPlatformRefusal(error: string): boolean {
  return [noMatchingManifest, wrongPlatform, execFormat, unsupportedPlatform].some((text) =>
    error.includes(text),
  );
}
