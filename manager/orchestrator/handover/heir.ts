/**
 * Makes the task that is to take over from one that leaves its node.
 */
import {
  Restart,
  type Service,
  type Task,
  type TaskState,
} from "../../../src/common/api/generated/api.ts";
import { newId } from "../../../src/common/ids/ids.ts";
import type { Tx } from "../../state/transaction.ts";
import type { View } from "../../state/view.ts";
import type { Tools } from "../leadership.ts";
import { placeOf } from "../slot.ts";
import { defaultLogDriver, newTask } from "../task-factory.ts";

/** Makes it beside the one that leaves; gives its id. `ready` holds it back until that one has stopped. */
export function startBeside(
  tx: Tx,
  service: Service,
  parts: { readonly leaving: Task; readonly view: View; readonly desiredState: TaskState },
  { clock, random }: Pick<Tools, "clock" | "random">,
): string {
  const { leaving, view, desiredState } = parts;
  // What its service was restarted goes on being counted.
  const counted = leaving.specVersion === service.specVersion ? leaving.restart : undefined;
  const id = newId(random);
  tx.require("service", service.id);
  const task = newTask(service, {
    id,
    place: placeOf(leaving),
    now: clock.now(),
    desiredState,
    logDriver: defaultLogDriver(view),
    restart: Restart.create({ ...counted, startAtMs: 0 }),
    besideId: leaving.id,
  });
  tx.create("task", task);
  return id;
}
