/**
 * Names for services the user did not name: two words and an underscore between, easy to say and to type.
 */
import type { Random } from "../common/random/random.ts";

const first = (
  "amber ample brave brisk calm candid clear clever cosy crisp daring deft eager early fair fleet fond frank " +
  "fresh gentle glad golden grand handy hardy honest humble ideal jolly keen kind lively loyal lucid lucky mellow merry " +
  "mild modest neat nimble noble patient plucky polite prompt proud quick quiet ready robust rosy serene sharp sincere " +
  "smart smooth snug sober solid spry stable steady stout sturdy sunny swift tidy trusty upbeat vivid warm willing wise"
).split(" ");
const second = (
  "acacia alder apiary aspen aster basil beech birch bloom borage brood carrel cedar cell cherry clover colony comb " +
  "cowslip crocus daisy drone elder fern field flax forager foxglove garden gorse hawthorn hazel heather hive honey " +
  "iris ivy jasmine keeper larch lavender lilac linden lupin maple marigold meadow mint nectar nettle oak orchard " +
  "pansy pine pollen poplar poppy queen rowan sage scout skep smoker sorrel swarm thistle thyme tulip veil violet " +
  "wax willow wing worker yarrow yew"
).split(" ");

/** A name such as `brisk_clover`; valid as a service name. */
export function randomName(random: Random): string {
  return `${first[random.int(first.length)]}_${second[random.int(second.length)]}`;
}
