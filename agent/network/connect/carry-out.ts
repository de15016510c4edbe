/**
 * Has programs run where the sockets of containers connect, and tells them of namespaces and backends, from the thread that
 * speaks to the kernel. They end with the descriptors that keep them: nothing of them outlives the daemon.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import {
  close,
  deleteEntries,
  isLinked,
  linkToGroup,
  loadProgram,
  loadTypes,
  makeMap,
  namespaceCookie,
  readEntries,
  updateEntries,
} from "../bpf/calls.ts";
import { typeIds, wordTypes } from "../bpf/type-info.ts";
import { unifiedGroup } from "./group.ts";
import { addressBytes, connecting, maps, naming } from "./programs.ts";
import type { HookAnswer, HookJob, Hooks } from "./request.ts";

/** BPF_PROG_TYPE_CGROUP_SOCK_ADDR. */
const ofSocketAddresses = 18;
/** BPF_CGROUP_INET…_CONNECT and _GETPEERNAME. */
const programs = [
  { name: "connecting", attach: 10, steps: connecting(4) },
  { name: "connecting6", attach: 11, steps: connecting(6) },
  { name: "naming", attach: 29, steps: naming(4) },
  { name: "naming6", attach: 30, steps: naming(6) },
] as const;

/** In the namespace of the job. @throws Error where the kernel refuses. */
export function carryOutHook(job: HookJob): HookAnswer {
  switch (job.what) {
    case "load-hooks":
      return { ok: true, output: "", hooks: loadHooks() };
    case "enter-hooks": {
      const cookie = namespaceCookie();
      const table = Buffer.alloc(maps.spaces.value);
      table.writeUInt32LE(job.table);
      updateEntries(job.hooks.spaces, Buffer.concat([cookie, table]), maps.spaces);
      return { ok: true, output: "", cookie };
    }
    case "tell-hooks":
      updateEntries(job.hooks.backends, job.come, maps.backends);
      deleteEntries(job.hooks.spaces, job.left, maps.spaces);
      deleteEntries(job.hooks.backends, job.gone, maps.backends);
      return { ok: true, output: "" };
    case "read-hooks": {
      const { spaces, backends, links } = job.hooks;
      const held = {
        spaces: readEntries(spaces, maps.spaces),
        backends: readEntries(backends, maps.backends),
        linked: links.filter(isLinked).length,
      };
      return { ok: true, output: "", held };
    }
  }
}

/** Those before are closed when one is refused. */
function loadHooks(): Hooks {
  // Where namespaces cannot be told apart there is no use in the rest.
  namespaceCookie();
  const opened: number[] = [];
  const open = (descriptor: number) => {
    opened.push(descriptor);
    return descriptor;
  };
  const group = openSync(unifiedGroup(readFileSync("/proc/self/mountinfo", "utf8")), "r");
  try {
    const descriptor = loadTypes(wordTypes(addressBytes / 4));
    const types = { descriptor, key: typeIds.word, value: typeIds.row };
    const descriptors = {
      spaces: open(makeMap("spaces", maps.spaces)),
      backends: open(makeMap("backends", maps.backends)),
      called: open(makeMap("called", maps.called, types)),
    };
    close(descriptor);
    const type = ofSocketAddresses;
    const loaded = programs.map((one) => open(loadProgram({ ...one, type }, descriptors)));
    const links = loaded.map((one, at) => open(linkToGroup(one, group, programs[at]?.attach ?? 0)));
    // Links keep programs, and these keep their maps.
    for (const one of [...loaded, descriptors.called]) close(one);
    const { spaces, backends } = descriptors;
    return { spaces, backends, links };
  } catch (error) {
    for (const one of opened) close(one);
    throw error;
  } finally {
    closeSync(group);
  }
}
