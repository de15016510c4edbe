/**
 * The seccomp filter of a container: the default one, or the user's own in the form of Docker's profile files.
 *
 * The default allows what ordinary programs need and refuses the rest, more of it the fewer capabilities there are, as
 * Docker's and containerd's profiles do.
 */
import { ClusterError, errorText } from "../../../src/common/errors/cluster-error.ts";

/** `linux.seccomp` of an OCI spec. */
export interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly syscalls?: readonly OciSyscallRule[];
}

/** One rule: what happens to these calls when all conditions hold. */
export interface OciSyscallRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly {
    readonly index: number;
    readonly value: number;
    readonly valueTwo?: number;
    readonly op: string;
  }[];
}

/** What decides over a filter. */
export interface SeccompWish {
  /** `default`, `unconfined`, `custom` or empty for the default. */
  readonly mode: string;
  /** JSON of a custom profile. */
  readonly profile: Uint8Array;
  readonly capabilities: readonly string[];
  /** As Node names it: x64, arm64, arm, … */
  readonly nodeArch: string;
  /** Major and minor version of the kernel. */
  readonly kernel: readonly [number, number];
}

/**
 * The filter; undefined for none.
 *
 * @throws ClusterError invalid-argument for an unknown mode, or a profile that cannot be read.
 */
export function seccompOf(wish: SeccompWish): OciSeccomp | undefined {
  switch (wish.mode) {
    case "":
    case "default":
    case "builtin":
      return defaultFilter(wish);
    case "unconfined":
      return undefined;
    case "custom":
      return customFilter(wish);
    default:
      throw new ClusterError(
        "invalid-argument",
        `seccomp mode ${wish.mode}: give default, unconfined or custom`,
      );
  }
}

const allow = "SCMP_ACT_ALLOW";
const refuse = "SCMP_ACT_ERRNO";
/** Program interfaces a kernel of each architecture offers. */
const architecturesOf: Readonly<Record<string, readonly string[]>> = {
  x64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
  arm: ["SCMP_ARCH_ARM"],
  ia32: ["SCMP_ARCH_X86"],
  riscv64: ["SCMP_ARCH_RISCV64"],
  ppc64: ["SCMP_ARCH_PPC64LE"],
  s390x: ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
};
/** ENOSYS makes C libraries fall back to what is allowed. */
const notImplemented = 38;
/** EPERM. */
const notPermitted = 1;
/** Flags of clone that make namespaces: user, PID, network, mount, IPC, UTS, cgroup. */
const namespaceFlags = 0x7e020000;
/** Address family of virtual machine sockets, which reach the host past every network namespace. */
const vsockFamily = 40;
/** Personalities without an effect on security: Linux, 32 bit, UNAME26, both, and asking for the present one. */
const personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

function defaultFilter({ capabilities, nodeArch }: SeccompWish): OciSeccomp {
  const mayAll = new Set(capabilities);
  const rules: OciSyscallRule[] = [
    { names: basicCalls, action: allow },
    ...personalities.map((value) => ({
      names: ["personality"],
      action: allow,
      args: [{ index: 0, value, op: "SCMP_CMP_EQ" }],
    })),
    {
      names: ["socket"],
      action: allow,
      args: [{ index: 0, value: vsockFamily, op: "SCMP_CMP_NE" }],
    },
  ];
  const own = callsOfArchitecture[nodeArch];
  if (own !== undefined) rules.push({ names: own, action: allow });
  for (const [capability, names] of Object.entries(callsOfCapability)) {
    if (mayAll.has(capability)) rules.push({ names, action: allow });
  }
  if (!mayAll.has("CAP_SYS_ADMIN")) {
    rules.push({
      names: ["clone"],
      action: allow,
      args: [
        {
          // The flags are the first argument, but the second on s390.
          index: nodeArch === "s390x" ? 1 : 0,
          value: namespaceFlags,
          valueTwo: 0,
          op: "SCMP_CMP_MASKED_EQ",
        },
      ],
    });
    // Its flags are in memory, where a filter cannot look.
    rules.push({ names: ["clone3"], action: refuse, errnoRet: notImplemented });
  }
  return {
    defaultAction: refuse,
    defaultErrnoRet: notPermitted,
    architectures: architecturesOf[nodeArch] ?? [],
    syscalls: rules,
  };
}

/** The form of Docker's profile files, which is OCI's with conditions. */
interface ProfileFile {
  readonly defaultAction?: unknown;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly archMap?: readonly { architecture: string; subArchitectures?: readonly string[] }[];
  readonly flags?: readonly string[];
  readonly syscalls?: readonly ProfileRule[];
}

interface ProfileRule {
  readonly name?: string;
  readonly names?: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: OciSyscallRule["args"] | null;
  readonly includes?: ProfileCondition;
  readonly excludes?: ProfileCondition;
}

interface ProfileCondition {
  readonly arches?: readonly string[];
  readonly caps?: readonly string[];
  readonly minKernel?: string;
}

function customFilter(wish: SeccompWish): OciSeccomp {
  const file = parseProfile(wish.profile);
  const architectures =
    file.architectures ??
    file.archMap
      ?.filter(({ architecture }) => architecture === architecturesOf[wish.nodeArch]?.[0])
      .flatMap(({ architecture, subArchitectures }) => [architecture, ...(subArchitectures ?? [])]);
  return {
    defaultAction: String(file.defaultAction),
    ...(file.defaultErrnoRet !== undefined && { defaultErrnoRet: file.defaultErrnoRet }),
    ...(architectures !== undefined && { architectures }),
    ...(file.flags !== undefined && { flags: file.flags }),
    syscalls: (file.syscalls ?? [])
      .filter((rule) => applies(rule, wish))
      .map((rule) => ({
        names: rule.names ?? (rule.name === undefined ? [] : [rule.name]),
        action: rule.action,
        ...(rule.errnoRet !== undefined && { errnoRet: rule.errnoRet }),
        ...(rule.args != null && rule.args.length > 0 && { args: rule.args }),
      })),
  };
}

function parseProfile(bytes: Uint8Array): ProfileFile {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new ClusterError(
      "invalid-argument",
      `Decoding seccomp profile failed: ${errorText(error)}`,
      { cause: error },
    );
  }
  const file = value as ProfileFile | null;
  if (typeof file !== "object" || file === null || typeof file.defaultAction !== "string") {
    throw new ClusterError(
      "invalid-argument",
      "Decoding seccomp profile failed: defaultAction is missing",
    );
  }
  return file;
}

function applies({ includes, excludes }: ProfileRule, wish: SeccompWish): boolean {
  const arch = dockerArchOf[wish.nodeArch] ?? wish.nodeArch;
  const has = (capability: string) => wish.capabilities.includes(capability);
  if (includes?.arches?.length && !includes.arches.includes(arch)) return false;
  if (includes?.caps?.some((capability) => !has(capability))) return false;
  if (includes?.minKernel && !isAtLeast(wish.kernel, includes.minKernel)) return false;
  if (excludes?.arches?.includes(arch)) return false;
  if (excludes?.caps?.some(has)) return false;
  return !(excludes?.minKernel && isAtLeast(wish.kernel, excludes.minKernel));
}

const dockerArchOf: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };

function isAtLeast([major, minor]: readonly [number, number], text: string): boolean {
  const [wantedMajor = 0, wantedMinor = 0] = text.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

const words = (text: string) => text.trim().split(/\s+/);

const callsOfArchitecture: Readonly<Record<string, readonly string[]>> = {
  x64: words("arch_prctl modify_ldt map_shadow_stack"),
  ia32: words("modify_ldt"),
  arm64: words(
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
  ),
  arm: words("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
  ppc64: words("sync_file_range2 swapcontext"),
  riscv64: words("riscv_flush_icache"),
  s390x: words("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
};

const callsOfCapability: Readonly<Record<string, readonly string[]>> = {
  CAP_DAC_READ_SEARCH: words("open_by_handle_at"),
  CAP_SYS_ADMIN: words(`bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
    mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
    sethostname setns syslog umount umount2 unshare`),
  CAP_SYS_BOOT: words("reboot"),
  CAP_SYS_CHROOT: words("chroot"),
  CAP_SYS_MODULE: words("delete_module init_module finit_module"),
  CAP_SYS_PACCT: words("acct"),
  CAP_SYS_PTRACE: words("kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev"),
  CAP_SYS_RAWIO: words("iopl ioperm"),
  CAP_SYS_TIME: words("settimeofday stime clock_settime clock_settime64"),
  CAP_SYS_TTY_CONFIG: words("vhangup"),
  CAP_SYS_NICE: words("get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
  CAP_SYSLOG: words("syslog"),
  CAP_BPF: words("bpf"),
  CAP_PERFMON: words("perf_event_open"),
};

const basicCalls: readonly string[] = words(`
  accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown
  chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
  clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
  copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
  epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
  exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod
  fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
  fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
  ftruncate64 futex futex_time64 futex_waitv futimesat getcpu getcwd getdents getdents64 getegid
  getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername
  getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid
  getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area
  gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1
  inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64
  ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset
  landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr llistxattr
  _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise membarrier memfd_create
  memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
  mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
  mq_timedsend_time64 mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall
  munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
  pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl
  pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 ptrace pwrite64
  pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
  recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall
  rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
  rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity
  sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
  sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
  sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
  semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32
  setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority
  setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
  set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr
  shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn
  socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync
  sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
  timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
  timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit
  umask uname unlink unlinkat utime utimensat utimensat_time64 utimes vfork vmsplice wait4
  waitid waitpid write writev
`);
