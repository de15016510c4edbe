/**
 * `HostConfig.SecurityOpt` (`docker run --security-opt`) → `Privileges`. Pure.
 */
import { Privileges, Seccomp, SeLinuxContext } from "../../common/api/generated/api.ts";
import { ClusterError } from "../../common/errors/cluster-error.ts";

/** What the options come to, while they are read one by one. */
interface Draft {
  noNewPrivileges: boolean;
  apparmorMode: string;
  seccomp: Seccomp | undefined;
  selinux: Record<string, string>;
  selinuxDisabled: boolean;
}

/** @throws ClusterError `invalid-argument` with Docker's text for an option that is not known. */
export function privilegesFromOptions(options: readonly string[]): Privileges | undefined {
  if (options.length === 0) return undefined;
  const draft: Draft = {
    noNewPrivileges: false,
    apparmorMode: "",
    seccomp: undefined,
    selinux: {},
    selinuxDisabled: false,
  };
  for (const option of options) readOption(option, draft);
  const { user = "", role = "", type = "", level = "" } = draft.selinux;
  const hasLabel = draft.selinuxDisabled || Object.keys(draft.selinux).length > 0;
  return Privileges.create({
    noNewPrivileges: draft.noNewPrivileges,
    apparmorMode: draft.apparmorMode,
    seccomp: draft.seccomp,
    selinux: hasLabel
      ? SeLinuxContext.create({ disable: draft.selinuxDisabled, user, role, type, level })
      : undefined,
  });
}

function readOption(option: string, draft: Draft): void {
  if (option === "no-new-privileges") {
    draft.noNewPrivileges = true;
    return;
  }
  if (option === "disable") {
    draft.selinuxDisabled = true;
    return;
  }
  // The older form has a colon; a profile of seccomp holds colons of its own.
  const at = option.includes("=") ? option.indexOf("=") : option.indexOf(":");
  if (at < 0) throw invalid(`invalid --security-opt 1: ${JSON.stringify(option)}`);
  const value = option.slice(at + 1);
  switch (option.slice(0, at)) {
    case "no-new-privileges":
      draft.noNewPrivileges = truth(option, value);
      return;
    case "seccomp":
      draft.seccomp = seccompFrom(value);
      return;
    case "apparmor":
      draft.apparmorMode = apparmorFrom(value);
      return;
    case "label":
      readLabel(value, draft);
      return;
    default:
      throw invalid(`invalid --security-opt 2: ${JSON.stringify(option)}`);
  }
}

function truth(option: string, value: string): boolean {
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  throw invalid(`invalid --security-opt 2: ${JSON.stringify(option)}`);
}

function seccompFrom(value: string): Seccomp {
  if (value === "unconfined") return Seccomp.create({ mode: "unconfined" });
  if (value === "" || value === "builtin") return Seccomp.create({ mode: "default" });
  try {
    JSON.parse(value);
  } catch (error) {
    throw new ClusterError("invalid-argument", "Decoding seccomp profile failed: it is no JSON", {
      cause: error,
    });
  }
  return Seccomp.create({ mode: "custom", profile: new Uint8Array(Buffer.from(value)) });
}

function apparmorFrom(value: string): string {
  if (value === "unconfined") return "disabled";
  if (value === "" || value === "docker-default") return "default";
  throw new ClusterError(
    "unimplemented",
    `apparmor=${value}: profiles of one's own are not supported; use apparmor=unconfined or leave it out`,
  );
}

function readLabel(value: string, draft: Draft): void {
  if (value === "disable") {
    draft.selinuxDisabled = true;
    return;
  }
  const [key = "", ...rest] = value.split(":");
  if (!["user", "role", "type", "level"].includes(key) || rest.length === 0)
    throw invalid(`invalid --security-opt 2: ${JSON.stringify(`label=${value}`)}`);
  draft.selinux[key] = rest.join(":");
}

function invalid(message: string): ClusterError {
  return new ClusterError("invalid-argument", message);
}
