/**
 * Processes in containers: JSON ↔ `ExecConfig` and `ExecProcess`. Pure.
 */
import type { ExecConfig, ExecProcess } from "../../common/container/containers.ts";
import type { Json } from "./common.ts";
import type { JsonObject } from "./reader.ts";

/** @throws ClusterError `invalid-argument` with Docker's texts. */
export function execConfigFromJson(json: JsonObject): ExecConfig {
  const command = json.stringOrStrings("Cmd") ?? [];
  if (command.length === 0) throw json.invalid("No exec command specified");
  const env = json.strings("Env");
  const unnamed = env.find((line) => line === "" || line.startsWith("="));
  if (unnamed !== undefined) throw json.invalid(`invalid environment variable: ${unnamed}`);
  return {
    command,
    env,
    workingDir: json.string("WorkingDir"),
    user: json.string("User"),
    tty: json.bool("Tty"),
    attachStdin: json.bool("AttachStdin"),
    attachStdout: json.bool("AttachStdout"),
    attachStderr: json.bool("AttachStderr"),
    privileged: json.bool("Privileged"),
  };
}

/** A process as `GET /exec/{id}/json` shows it. */
export function execToJson(exec: ExecProcess): Json {
  const { config } = exec;
  const [entrypoint = "", ...rest] = config.command;
  return {
    ID: exec.id,
    Running: exec.running,
    ExitCode: exec.exitCode ?? null,
    ProcessConfig: {
      tty: config.tty,
      entrypoint,
      arguments: rest,
      privileged: config.privileged,
      user: config.user === "" ? undefined : config.user,
    },
    OpenStdin: config.attachStdin,
    OpenStderr: config.attachStderr,
    OpenStdout: config.attachStdout,
    CanRemove: false,
    ContainerID: exec.containerId,
    DetachKeys: "",
    Pid: exec.pid,
  };
}
