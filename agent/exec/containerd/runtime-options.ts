/**
 * Options of the shim for runc and crun, as containerd takes them.
 */
import { type Any, RuncOptions } from "../../../src/common/containerd/generated/protocol.ts";

/**
 * @param o Program, and the folder for its state: of this node alone, as two nodes on one machine may have containers of
 *   the same id.
 */
export function runtimeOptions(o: { program: string; root: string }): Any {
  return {
    typeUrl: "containerd.runc.v1.Options",
    value: RuncOptions.encode(RuncOptions.create({ binaryName: o.program, root: o.root })),
  };
}
