#!/bin/bash
# Runs inside a virtual machine of `npm run test:vm`, on each of its boots, and tells on the serial line what it saw: lines
# `vm: ok WHAT` and `vm: FAILED WHAT: …`, at the end `vm: boot N over`. /payload holds Skep, the docker client and images.
export PATH=/payload/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin DOCKER_HOST=unix:///run/docker.sock
boots=$(($(cat /var/lib/boots 2>/dev/null || echo 0) + 1))
echo $boots >/var/lib/boots

ok() { echo "vm: ok $*"; }
failed() { echo "vm: FAILED $*"; }
same() { # WHAT WANTED FOUND
  if [ "$2" = "$3" ]; then ok "$1"; else failed "$1: wanted $2, found $3"; fi
}
# Waits, for as long as the runner lets the machine live, until a command prints what is wanted.
until_is() { # WHAT WANTED COMMAND…
  local what=$1 wanted=$2 found tries=0
  shift 2
  # A command that fails has not been answered yet: a daemon that has just started, say.
  until found=$("$@" 2>&1) && [ "$found" = "$wanted" ]; do
    tries=$((tries + 1))
    if [ $tries -ge 600 ]; then failed "$what: wanted $wanted, found $found"; return; fi
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

start_daemon() {
  if [ -d /run/systemd/system ]; then
    sed "s#^ExecStart=.*#ExecStart=/usr/bin/node /payload/skep/build/src/bin/skep.js daemon --data-root /var/lib/skep --host unix:///run/docker.sock#" \
      /payload/skep.service >/etc/systemd/system/skep.service
    systemctl daemon-reload && systemctl enable --now --quiet skep
  else
    setsid node /payload/skep/build/src/bin/skep.js daemon --data-root /var/lib/skep --host "$DOCKER_HOST" \
      >/var/lib/skep.log 2>&1 </dev/null &
  fi
  until docker version >/dev/null 2>&1; do sleep 0.2; done
}

first_boot() {
  docker load --quiet --input /payload/images.tar >/dev/null && ok "images are loaded"
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
  docker swarm init --advertise-addr 127.0.0.1 >/dev/null && ok "a swarm is made"
  docker service create --detach --name web --replicas 3 --limit-memory 32M --no-resolve-image busybox:1 sleep 100000 >/dev/null
  until_is "a service of three" 3/3 replicas web
  docker ps --no-trunc --quiet --filter label=com.docker.swarm.service.name=web | sort >/var/lib/tasks
}

second_boot() {
  until_is "the service is back after the reboot" 3/3 replicas web
  until_is "a container with --restart always is back" running docker inspect --format '{{.State.Status}}' always
  same "a container without is not" exited "$(docker inspect --format '{{.State.Status}}' once)"
  until_is "three tasks run, no more" 3 sh -c \
    'docker ps --quiet --filter label=com.docker.swarm.service.name=web | wc -l'
  docker service rm web >/dev/null
  until_is "no task is left" 0 sh -c 'docker ps --all --quiet --filter label=com.docker.swarm.service.name=web | wc -l'
  docker rm --force limited eater always once >/dev/null && ok "containers are removed"
  same "no group of a container is left" 0 "$(find /sys/fs/cgroup/skep -mindepth 2 -type d 2>/dev/null | wc -l)"
}

start_daemon
if [ $boots = 1 ]; then first_boot; else second_boot; fi
if [ -n "$(ls /payload/debug 2>/dev/null)" ]; then tail -50 /var/lib/skep.log; journalctl -u skep -n 50 --no-pager 2>/dev/null; fi
echo "vm: boot $boots over"
sync
if [ $boots = 1 ]; then
  echo b >/proc/sysrq-trigger # as when the power goes: nothing is told to stop
else
  echo o >/proc/sysrq-trigger
fi
sleep 60
