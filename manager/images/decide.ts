/**
 * What a registry is to be asked for a service, and what becomes of its answer. Pure.
 *
 * The answer stands beside the spec, never in it: the spec is the user's, and the docker client writes platforms into it
 * without variants. A service keeps what was known of its image while the registry does not answer.
 */
import {
  EarlierImage,
  type Platform,
  type Service,
  ServiceImage,
} from "../../src/common/api/generated/api.ts";
import { ClusterError, errorText } from "../../src/common/errors/cluster-error.ts";

/** What a registry is to be asked. */
export interface Wish {
  readonly reference: string;
  /** Credentials as the service has them, Docker's base64; empty for none. */
  readonly registryAuth: string;
  readonly forceUpdate: number;
}

/** What a registry answered. */
export interface Answer {
  readonly digest: string;
  readonly platforms: readonly Platform[];
  /** Digest of the manifest for each of the platforms; undefined when it was not asked for. */
  readonly manifests?: readonly string[];
}

/** Images of before that are remembered: one for each kept revision. */
const earlierMax = 10;
/** First pause before a registry that did not answer is asked again, milliseconds; it doubles. */
const retryMs = 5_000;
/** Longest such pause. */
const retryMaxMs = 5 * 60_000;
/** Pause after an answer that says no: the image may be pushed later, or be on the nodes only. */
const refusedRetryMs = 10 * 60_000;
/** Longest text of an error that is kept. */
const errorTextMax = 512;

/** What is to be asked for a service; undefined when everything is known. */
export function wishOf(service: Service): Wish | undefined {
  const { image, spec } = service;
  const container = spec?.task?.container;
  const reference = container?.image ?? "";
  if (reference === "") return undefined;
  const forceUpdate = spec?.task?.forceUpdate ?? 0;
  const isSame = image?.reference === reference && image.forceUpdate === forceUpdate;
  if (isSame && image.error === "") return undefined;
  return { reference, registryAuth: container?.pull?.registryAuth ?? "", forceUpdate };
}

/** Whether two wishes are the same question. */
export function isSameWish(a: Wish | undefined, b: Wish | undefined): boolean {
  return a !== undefined && b !== undefined && wishKey(a) === wishKey(b);
}

/** The question as text: who asks the same with the same credentials gets the same answer. */
export function wishKey({ reference, registryAuth, forceUpdate }: Wish): string {
  return JSON.stringify([reference, registryAuth, forceUpdate]);
}

/** The image of a service after an answer. */
export function imageAfterAnswer(
  service: Service,
  wish: Wish,
  { digest, platforms, manifests = [] }: Answer,
  now: number,
): ServiceImage {
  return ServiceImage.create({
    ...placeOf(service, wish),
    digest,
    ...withoutDoubles(platforms, manifests),
    resolvedAtMs: now,
    earlier: earlierThan(wish.reference, service),
  });
}

/** What is known of the images of before, without that one. */
function earlierThan(reference: string, { image }: Service): EarlierImage[] {
  if (image === undefined) return [];
  const { platforms, manifests } = image;
  const last = EarlierImage.create({ reference: image.reference, platforms, manifests });
  const all = manifests.length > 0 ? [last, ...image.earlier] : image.earlier;
  return all.filter((one) => one.reference !== reference).slice(0, earlierMax);
}

/**
 * The image of a service whose registry did not answer: what is known of the same reference stays.
 *
 * @param known What another service knows of the reference.
 * @returns undefined when that is what the service has already.
 */
export function imageAfterFailure(
  service: Service,
  wish: Wish,
  error: unknown,
  known: ServiceImage | undefined,
): ServiceImage | undefined {
  const own = service.image?.reference === wish.reference ? service.image : undefined;
  const last = own !== undefined && own.digest !== "" ? own : known;
  const next = ServiceImage.create({
    ...placeOf(service, wish),
    digest: last?.digest ?? "",
    platforms: last?.platforms ?? [],
    manifests: last?.manifests ?? [],
    earlier: earlierThan(wish.reference, service),
    resolvedAtMs: last?.resolvedAtMs ?? 0,
    error: errorText(error).slice(0, errorTextMax),
  });
  const isSame =
    own !== undefined &&
    own.error === next.error &&
    own.digest === next.digest &&
    own.forceUpdate === next.forceUpdate;
  return isSame ? undefined : next;
}

/** Pause before the next attempt, after so many that failed. */
export function pauseAfter(error: unknown, attempts: number): number {
  if (isRefusal(error)) return refusedRetryMs;
  return Math.min(retryMs * 2 ** Math.min(attempts - 1, 16), retryMaxMs);
}

/** Whether the registry answered, and said no. */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof ClusterError)) return false;
  switch (error.code) {
    case "not-found":
    case "permission-denied":
    case "unauthenticated":
    case "invalid-argument":
    case "failed-precondition":
    case "unimplemented":
      return true;
    default:
      return false;
  }
}

/** What is the same whatever the answer is. */
function placeOf(service: Service, { reference, forceUpdate }: Wish): Partial<ServiceImage> {
  const { image, specVersion, meta } = service;
  const isSameSpec = image !== undefined && image.specVersion === specVersion;
  const before = isSameSpec ? image.overVersion : 0;
  return { reference, forceUpdate, specVersion, overVersion: before || (meta?.version ?? 0) };
}

function withoutDoubles(
  platforms: readonly Platform[],
  manifests: readonly string[],
): Pick<ServiceImage, "platforms" | "manifests"> {
  const known = new Set<string>();
  const isFirst = platforms.map(({ os, architecture, variant }) => {
    const key = `${os}/${architecture}/${variant}`;
    const isNew = !known.has(key);
    known.add(key);
    return isNew;
  });
  return {
    platforms: platforms.filter((_, at) => isFirst[at]),
    manifests: manifests.filter((_, at) => isFirst[at]),
  };
}
