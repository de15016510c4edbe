#!/bin/bash
# Runs inside a virtual machine of `npm run test:vm`, on each of its boots, and tells on the serial line what it saw: lines
# `vm: ok WHAT` and `vm: FAILED WHAT: …`, at the end `vm: boot N over`. /payload holds Skep, the docker client and images.
export PATH=/payload/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin DOCKER_HOST=unix:///run/docker.sock
boots=$(($(cat /var/lib/boots 2>/dev/null || echo 0) + 1))
echo $boots >/var/lib/boots
echo "guest: boot $boots began $(cut -d" " -f1 /proc/uptime) s after the kernel"

ok() { echo "vm: ok $*"; }
failed() { echo "vm: FAILED $*"; }
same() { # WHAT WANTED FOUND
  if [ "$2" = "$3" ]; then ok "$1"; else failed "$1: wanted $2, found $3"; fi
}
# Waits, for as long as the runner lets the machine live, until a command prints what is wanted.
until_is() { # WHAT WANTED COMMAND…
  local what=$1 wanted=$2 found begin=$SECONDS said=$SECONDS
  shift 2
  # A command that fails has not been answered yet: a daemon that has just started, say.
  until found=$("$@" 2>&1) && [ "$found" = "$wanted" ]; do
    if [ $((SECONDS - begin)) -ge 1200 ]; then failed "$what: wanted $wanted, found $found"; return; fi
    # The runner ends a machine that says nothing.
    if [ $((SECONDS - said)) -ge 120 ]; then echo "waiting for \"$what\": $found"; said=$SECONDS; fi
    sleep 0.5
  done
  same "$what" "$wanted" "$found"
}
replicas() { docker service ls --filter name="$1" --format '{{.Replicas}}'; }
group_of() { # CONTAINER: folder of its control group
  local pid
  pid=$(docker inspect --format '{{.State.Pid}}' "$1")
  echo "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")"
}

# What the data path wants of a kernel and the build machine's lacks, tried by hand between two namespaces: WireGuard,
# ipvlan and SCTP. No module is loaded by name: asking for the thing has to do, as it must for the daemon.
kernel_facts() {
  echo "vm: kernel $(uname -r)"
  ip netns add left && ip netns add right
  kernel_wireguard
  kernel_ipvlan
  kernel_sctp
  ip netns delete left
  ip netns delete right
}
answers() { ip netns exec left ping -q -c 1 -W 5 "$1" >/dev/null && echo yes; }
kernel_wireguard() {
  ip link add left-wire type veth peer name right-wire
  local side other peer net=left
  for side in 1 2; do
    ip link set $net-wire netns $net && ip -n $net address add 10.99.0.$side/24 dev $net-wire
    ip -n $net link set $net-wire up
    ip -n $net link add wg0 type wireguard
    (umask 077 && wg genkey >/run/$net.key)
    net=right
  done
  for net in left right; do
    if [ $net = left ]; then side=1 other=2 peer=right; else side=2 other=1 peer=left; fi
    ip netns exec $net wg set wg0 listen-port 51820 private-key /run/$net.key peer "$(wg pubkey </run/$peer.key)" \
      endpoint 10.99.0.$other:51820 allowed-ips 10.98.0.$other/32
    ip -n $net address add 10.98.0.$side/24 dev wg0
    ip -n $net link set wg0 up
  done
  same "kernel: WireGuard" yes "$(answers 10.98.0.2)"
  rm /run/left.key /run/right.key
  ip -n left link delete wg0 && ip -n right link delete wg0
  ip -n left link delete left-wire
}
kernel_ipvlan() {
  ip link add up0 type dummy && ip link set up0 up
  local net side=1
  for net in left right; do
    ip link add link up0 name $net-ipvlan type ipvlan mode l2 && ip link set $net-ipvlan netns $net
    ip -n $net address add 10.97.0.$side/24 dev $net-ipvlan && ip -n $net link set $net-ipvlan up
    side=2
  done
  same "kernel: ipvlan" yes "$(answers 10.97.0.2)"
  ip link delete up0
}
kernel_sctp() {
  # One way only: the end of what a side has to say would end the association.
  socat -U SCTP-LISTEN:7777,bind=127.0.0.1,reuseaddr,fork EXEC:"echo hello" &
  until_is "kernel: SCTP" hello socat -u SCTP:127.0.0.1:7777 -
  kill $!
}

said_by_daemon() { # LINES
  tail -n "$1" /var/lib/skep.log 2>/dev/null
  journalctl -u skep -n "$1" --no-pager 2>/dev/null
}

start_daemon() {
  if [ -d /run/systemd/system ]; then
    # The unit as it is, but for where it says its process id.
    ln -sfn /payload/skep /opt/skep
    sed '/^ExecStart=/s#$# --pidfile /run/skep.pid#' /payload/skep.service >/etc/systemd/system/skep.service
    systemctl daemon-reload && systemctl enable --now --quiet skep
  else
    setsid node /payload/skep/build/src/bin/skep.js daemon --pidfile /run/skep.pid --host $DOCKER_HOST \
      >>/var/lib/skep.log 2>&1 </dev/null &
  fi
  local tries=0
  until timeout 30 docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    # Emulated and on a busy machine this takes minutes: a line now and then says that it goes on, and how far.
    if [ $((tries % 5)) = 0 ]; then echo "waiting for the daemon ($tries)"; said_by_daemon 12; fi
    if [ $tries -ge 600 ]; then failed "the daemon answers: not after $tries tries"; said_by_daemon 100; return; fi
    sleep 1
  done
}

stop_daemon() {
  local pid
  pid=$(cat /run/skep.pid)
  if [ -d /run/systemd/system ]; then systemctl stop skep; else kill -TERM "$pid"; fi
  while [ -e "/proc/$pid" ]; do sleep 0.2; done
}

first_boot() {
  docker load --quiet --input /payload/images.tar >/dev/null && ok "images are loaded"
  data_path
  start_daemon
  same "a container runs natively" "$(uname -m)" "$(docker run --rm busybox:1 uname -m)"
  docker run -d --name limited -m 64m --pids-limit 20 --cpus 0.5 busybox:1 sleep 100000 >/dev/null
  local group
  group=$(group_of limited)
  same "memory limit" 67108864 "$(cat "$group/memory.max")"
  same "pids limit" 20 "$(cat "$group/pids.max")"
  same "cpu limit" "50000 100000" "$(cat "$group/cpu.max")"
  docker update --memory 96m --memory-swap 96m limited >/dev/null
  same "memory limit of a running container, changed" 100663296 "$(cat "$group/memory.max")"
  same "pids limit in force" yes "$(docker exec limited sh -c 'for i in $(seq 40); do sleep 9 & done' 2>&1 | grep -q -i 'fork' && echo yes)"
  docker run --name eater -m 16m --memory-swap 16m busybox:1 sh -c 'dd if=/dev/zero of=/dev/null bs=64M' >/dev/null 2>&1
  same "a container over its memory limit is killed" "137 true" \
    "$(docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' eater)"
  docker pause limited >/dev/null
  same "pause" 1 "$(cat "$group/cgroup.freeze")"
  docker unpause limited >/dev/null
  same "statistics" yes "$(docker stats --no-stream --format '{{.MemUsage}}' limited | grep -q '96MiB' && echo yes)"
  same "cgroup version in docker info" 2 "$(docker info --format '{{.CgroupVersion}}')"
  docker run -d --name always --restart always busybox:1 sleep 100000 >/dev/null
  docker run -d --name once busybox:1 sleep 100000 >/dev/null
  # The command gives up after 20 s, which an emulated machine may take; the daemon goes on.
  docker swarm init --advertise-addr 127.0.0.1 >/dev/null
  until_is "a swarm is made" "active true" docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}'
  # With two processors the fifth task of a service is the first that shares a shim with another one.
  docker service create --detach --name web --replicas 6 --limit-memory 32M --no-resolve-image busybox:1 sleep 100000 >/dev/null
  until_is "a service of six" 6/6 replicas web
  tasks_of_web
}
web_tasks() { docker ps --quiet --filter label=com.docker.swarm.service.name=web; }
web_shims() { # The parents of their processes.
  local task
  for task in $(web_tasks); do
    sed -n 's/^PPid:\s*//p' "/proc/$(docker inspect --format '{{.State.Pid}}' "$task")/status"
  done | sort -u | wc -l
}
web_limits() {
  local task
  for task in $(web_tasks); do cat "$(group_of "$task")/memory.max"; done | sort | uniq -c | tr -s ' '
}
tasks_of_web() {
  local shims
  shims=$(web_shims)
  same "tasks of a service share shims" yes "$([ "$shims" -gt 0 ] && [ "$shims" -lt 6 ] && echo yes)"
  echo "vm: told six tasks in $shims shims"
  same "memory limits of tasks that share shims" " 6 33554432" "$(web_limits)"
}

second_boot() {
  until_is "the service is back after the reboot" 6/6 replicas web
  until_is "a container with --restart always is back" running docker inspect --format '{{.State.Status}}' always
  same "a container without is not" exited "$(docker inspect --format '{{.State.Status}}' once)"
  until_is "six tasks run, no more" 6 sh -c \
    'docker ps --quiet --filter label=com.docker.swarm.service.name=web | wc -l'
  tasks_of_web
  docker service rm web >/dev/null
  until_is "no task is left" 0 sh -c 'docker ps --all --quiet --filter label=com.docker.swarm.service.name=web | wc -l'
  docker rm --force limited eater always once >/dev/null && ok "containers are removed"
  same "no group of a container is left" 0 "$(find /sys/fs/cgroup/skep -mindepth 2 -type d 2>/dev/null | wc -l)"
}

# With `--debug`: what keeps the machine busy, now and then.
look_on() {
  while sleep 45; do
    echo "debug: load $(cut -d ' ' -f 1-3 /proc/loadavg)"
    top -b -H -n 1 -w 140 | sed -n '7,13p'
    pgrep -a '^(docker|nc|tcpdump|crun|ip|nft)$' | cut -c 1-150
    said_by_daemon 4
  done
}

. /payload/network.sh
if [ -n "$(ls /payload/debug 2>/dev/null)" ]; then look_on & fi
if [ $boots = 1 ]; then
  kernel_facts
  network_begins
fi
start_daemon
if [ $boots = 1 ]; then first_boot; else second_boot; fi
if [ -n "$(ls /payload/debug 2>/dev/null)" ]; then said_by_daemon 50; fi
echo "vm: boot $boots over"
sync
if [ $boots = 1 ]; then
  echo b >/proc/sysrq-trigger # as when the power goes: nothing is told to stop
else
  echo o >/proc/sysrq-trigger
fi
sleep 60
