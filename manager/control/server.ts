/**
 * Control's methods on the RPC server, for requests that other managers forward.
 */
import { ControlService, type MethodDescriptor } from "../../src/common/api/generated/api.ts";
import { type Registration, unary } from "../../src/common/rpc/handler.ts";
import type { Control } from "./control.ts";

/** Every method of `ControlService`; who may call is stated in `src/common/rpc/roles.ts`. */
export function controlHandlers(control: Control): readonly Registration[] {
  const serve = <Q, R>(method: MethodDescriptor<Q, R>): Registration =>
    unary(method, (request, call) => control.handle(method, request, call.signal));
  return [
    serve(ControlService.createSecret),
    serve(ControlService.updateSecret),
    serve(ControlService.removeSecret),
    serve(ControlService.createConfig),
    serve(ControlService.updateConfig),
    serve(ControlService.removeConfig),
    serve(ControlService.createNetwork),
    serve(ControlService.removeNetwork),
    serve(ControlService.createService),
    serve(ControlService.updateService),
    serve(ControlService.removeService),
    serve(ControlService.updateNode),
    serve(ControlService.removeNode),
    serve(ControlService.updateCluster),
  ];
}
