#!/bin/bash
# The data path in a virtual machine of `npm run test:vm`, by the docker command: part of guest.sh, on the first boot.
#
# Besides the machine there are a client outside (10.95.0.2, namespace `outside`) and a second host, `far` (10.94.0.2): a
# process with namespaces, a /run and a daemon of its own, on the same kernel. Everything on the two is compared with what
# was there before the first daemon started.
far_pid=
far() { DOCKER_HOST=unix:///var/lib/far.sock docker "$@"; }
in_far() { nsenter --target "$far_pid" --mount --net --pid --uts --ipc "$@"; }
outside() { ip netns exec outside "$@"; }

# Before there is a daemon.
network_begins() {
  # What comes with modules that are loaded on demand is no change of anybody's.
  modprobe --all br_netfilter nf_conntrack nf_tables sctp
  # As on hosts with Docker's engine or ufw: containers are reached all the same.
  iptables --policy FORWARD DROP && ip6tables --policy FORWARD DROP
  ip link add up0 type dummy && ip link set up0 up
  ip netns add outside && ip link add outside0 type veth peer name wire netns outside
  ip address add 10.95.0.1/24 dev outside0 && ip link set outside0 up
  ip -n outside address add 10.95.0.2/24 dev wire && ip -n outside link set wire up && ip -n outside link set lo up
  far_begins
  # Addresses of IPv6 are tried for a second before they count.
  until_is "the network has settled" "" tentative
  bash /payload/state.sh | sort >/run/state
  in_far bash /payload/state.sh | sort >/run/state.far
}
tentative() { ip -oneline -6 address show tentative; in_far ip -oneline -6 address show tentative; }

far_begins() {
  unshare --net --mount --pid --uts --ipc --fork --kill-child bash -c '
    echo far >/proc/sys/kernel/hostname
    mount -n -t proc proc /proc && mount -n -t tmpfs -o mode=755 tmpfs /run && mount -n -t tmpfs tmpfs /dev/shm
    mkdir -p /run/netns /run/lock /run/groups
    mount -n --rbind /sys/fs/cgroup /run/groups && mount -n -t sysfs sysfs /sys
    mount -n --rbind /run/groups /sys/fs/cgroup && umount -n -l /run/groups && rmdir /run/groups
    ip link set lo up
    exec env --ignore-signal=CHLD sleep infinity' &
  local outer=$!
  until far_pid=$(pgrep -P $outer -x sleep); do sleep 0.2; done
  ip link add far0 type veth peer name eth0 netns "$far_pid"
  ip address add 10.94.0.1/24 dev far0 && ip link set far0 up
  in_far ip address add 10.94.0.2/24 dev eth0 && in_far ip link set eth0 up && in_far ip route add default via 10.94.0.1
}
far_daemon() {
  in_far bash -c 'cd / && setsid node /payload/skep/build/src/bin/skep.js daemon --data-root /var/lib/far \
    --exec-root /run/skep --pidfile /run/skep.pid --host unix:///var/lib/far.sock >>/var/lib/far.log 2>&1 </dev/null &'
}
answers_far() { far version --format '{{.Client.Os}}'; }

data_path() {
  far_daemon
  until_is "far: the daemon answers" linux answers_far
  far load --quiet --input /payload/images.tar >/dev/null && ok "far: images are loaded"
  data_path_parents
  data_path_run
  data_path_swarm
  data_path_encrypted
  data_path_shortcut
  data_path_mesh
  data_path_kills
  data_path_leaves
}

# Containers on devices of the machine.
data_path_parents() {
  local driver net=10
  for driver in ipvlan macvlan; do
    net=$((net + 1))
    docker network create --driver $driver --subnet 10.96.$net.0/24 --opt parent=up0 $driver-net >/dev/null && ok "$driver: a network is made"
    docker run -d --name on-$driver --network $driver-net --ip 10.96.$net.11 busybox:1 sleep 100000 >/dev/null
    same "$driver: the kind of the container's device" $driver \
      "$(nsenter --target "$(docker inspect --format '{{.State.Pid}}' on-$driver)" --net ip -details link show | grep -o -m 1 -w $driver)"
    same "$driver: two containers reach each other" yes \
      "$(docker run --rm --network $driver-net busybox:1 ping -q -c 1 -W 30 10.96.$net.11 >/dev/null && echo yes)"
    until_is "$driver: the container is removed" "" removed on-$driver
    same "$driver: the network is removed" $driver-net "$(docker network rm $driver-net)"
    same "$driver: no device is left" "" "$(ip -oneline link show type $driver)"
  done
}

# The image has no program that speaks SCTP; the machine has.
server=(busybox:1 busybox chroot /machine /bin/bash /payload/echo.sh)
data_path_run() {
  docker run -d --name sctp -p 7778:7778/sctp --volume /:/machine:ro "${server[@]}" >/dev/null
  until_is "SCTP: a published port of a container answers a client outside" "$(docker inspect --format '{{.Config.Hostname}}' sctp)" \
    outside socat -u SCTP:10.95.0.1:7778 -
  until_is "SCTP: the container is removed" "" removed sctp
}
# Again, where the emulated machine does not end it within the time that a request may take.
removed() { # CONTAINER
  docker rm --force "$1" >/dev/null 2>&1
  docker ps --all --quiet --filter "name=^$1\$"
}

data_path_swarm() {
  # The command gives up after 20 s, which an emulated machine may take; the daemon goes on. A daemon takes minutes to start on one
  # that others share: its node is not to count as down meanwhile, or its tasks are replaced.
  docker swarm init --advertise-addr 10.94.0.1 --dispatcher-heartbeat 300s >/dev/null
  until_is "a swarm is made" "active true" docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}'
  far swarm join --token "$(docker swarm join-token --quiet worker)" 10.94.0.1:2377 >/dev/null
  until_is "far: it is in the swarm" active far info --format '{{.Swarm.LocalNodeState}}'
  until_is "both nodes are ready" 2 ready_nodes
  docker network create --driver overlay --attachable plain >/dev/null
  docker network create --driver overlay --attachable --opt encrypted safe >/dev/null
  serve far-talk --constraint node.hostname==far --network plain --network safe
  serve talk --mode global --publish 7007:7777 --publish 7779:7778/sctp
  until_is "a service on the far host" 1/1 replicas far-talk
  until_is "a service on both hosts" 2/2 replicas talk
}
ready_nodes() { docker node ls --format '{{.Status}}' | grep -c Ready; }
serve() { # NAME FLAG…
  docker service create --detach --no-resolve-image --name "$@" \
    --mount type=bind,source=/,destination=/machine,readonly "${server[@]}" >/dev/null
}

data_path_encrypted() {
  until_is "plain overlay: a service on the other host answers by its name" honey-plain said_by_name plain
  until_is "encrypted overlay: a service on the other host answers by its name" honey-safe said_by_name safe
  # A host has the device while it has a container in such a network.
  docker run -d --name keeper --network safe busybox:1 sleep 100000 >/dev/null
  same "encrypted overlay: the kernel's WireGuard, on both hosts" "1 1" \
    "$(ip -oneline link show type wireguard | wc -l) $(in_far ip -oneline link show type wireguard | wc -l)"
  until_is "encrypted overlay: the container is removed" "" removed keeper
  tcpdump -Z root -i far0 -U -w /run/wire.pcap 2>/run/tcpdump.said &
  local capture=$!
  until grep -q listening /run/tcpdump.said; do sleep 0.2; done
  same "while packets are captured: plain" honey-plain "$(said_by_name plain)"
  same "while packets are captured: encrypted" honey-safe "$(said_by_name safe)"
  kill -INT $capture
  wait $capture
  same "on the wire: what was said in the plain overlay" yes "$(grep -a -q honey-plain /run/wire.pcap && echo yes)"
  same "on the wire: nothing that was said in the encrypted one" 0 "$(grep -a -c honey-safe /run/wire.pcap)"
  same "on the wire: its frames in WireGuard only" "yes 0" "$(captured 'udp port 51820' | grep -q . && echo yes) $(captured 'udp port 4790' | wc -l)"
  rm /run/wire.pcap
}
said_by_name() { # NETWORK
  docker run --rm --network "$1" busybox:1 sh -c "echo honey-$1 | nc -w 60 far-talk 7777" | tail -n 1
}
captured() { tcpdump -Z root -n -r /run/wire.pcap "$1" 2>/dev/null; }

# Frames of overlays go past their bridges where the kernel takes the programs for that. Either will do, but it is told which it was.
data_path_shortcut() {
  local refused
  docker run -d --name caller --network plain busybox:1 sleep 100000 >/dev/null
  refused=$(said_by_daemon 100000 | grep -m 1 'lead every frame')
  # Of all frames that the bridges lead; without programs these are 200 questions and 200 answers at least.
  swarm nft 'add table bridge led; add chain bridge led c_led { type filter hook forward priority 0; }; add rule bridge led c_led counter'
  same "past the bridge: every question has its answer" "200 packets received" \
    "$(docker exec caller ping -q -c 200 -i 0.01 -W 60 tasks.far-talk | grep -o '[0-9]* packets received')"
  local led
  led=$(swarm nft list table bridge led | grep -o 'packets [0-9]*' | cut -d " " -f 2)
  swarm nft delete table bridge led
  if [ -n "$refused" ]; then
    echo "vm: told past the bridge: FALLEN BACK, the bridge led $led frames: $refused"
  else
    echo "vm: told past the bridge: ACTIVE, the bridge led $led of 400 frames; programs at ports: $(shortcut_ports | tr '\n' ' ')"
    same "past the bridge: all ports of overlays have programs" "" "$(shortcut_ports | grep -v ':2$')"
    same "past the bridge: most frames go past it" yes "$([ "$led" -lt 300 ] && echo yes)"
  fi
  data_path_connect
  until_is "past the bridge: the container is removed" "" removed caller
}
# Connections to service addresses go to a task at once where the kernel takes the programs for that.
data_path_connect() {
  local refused
  refused=$(said_by_daemon 100000 | grep -m 1 'rules lead every connection')
  echo "vm: told service address: ${refused:+FALLEN BACK to rules: $refused; }programs of the daemon: $(grep -l cgroup_id /proc/"$(cat /run/skep.pid)"/fdinfo/* | wc -l)"
}
swarm() { nsenter --net=/run/skep/netns/swarm "$@"; }
shortcut_ports() { # PORT:PROGRAMS
  local port side
  for port in $(swarm bridge -oneline link show | grep -E 'master br[0-9]+' | sed 's/^[0-9]*: \([^@: ]*\).*/\1/'); do
    echo "$port:$(for side in ingress egress; do swarm tc filter show dev "$port" $side; done | grep -c ' skep ')"
  done
}

data_path_mesh() {
  until_is "SCTP: a published port of a service leads to both hosts" 2 sctp_servers
  until_is "the published port answers with the caller's address" 10.95.0.2 called_from
}
sctp_servers() { for _ in 1 2 3 4 5 6; do outside socat -u SCTP:10.95.0.1:7779 - || return; done | sort -u | wc -l; }
# The end of what the caller has to say ends the server, and that the connection.
called_from() { outside socat -t 60 - TCP:10.95.0.1:7007 </dev/null | head -n 1; }

# Both daemons die under load and start again.
data_path_kills() {
  outside node /payload/skep/build/test/vm/load.js 10.95.0.1 7007 10.95.0.2 >/run/load 2>&1 &
  local load=$! main old
  until_is "load: streams are open" 8 so_far 1
  until_is "load: calls are made" yes calls_beyond 20
  main=$(cat /run/skep.pid) old=$(in_far cat /run/skep.pid)
  kill -KILL "$main"
  in_far kill -KILL "$old"
  while [ -e "/proc/$main" ] || in_far test -e "/proc/$old"; do sleep 0.2; done
  until_is "load: goes on while no daemon runs, or just again" yes calls_beyond $(($(so_far 7) + 5))
  far_daemon
  start_daemon
  until_is "far: the daemon answers after it was killed" linux answers_far
  until_is "both nodes are ready after that" 2 ready_nodes
  until_is "a service on both hosts after that" 2/2 replicas talk
  same "other daemons than before" yes \
    "$([ "$main" != "$(cat /run/skep.pid)" ] && [ "$old" != "$(in_far cat /run/skep.pid)" ] && echo yes)"
  until_is "load: goes on after that" yes calls_beyond $(($(so_far 7) + 50))
  kill -TERM $load
  wait $load
  grep -E '^(lost|failed)' /run/load | head -n 20 | sed 's/^/vm: told /'
  same "killed daemons: connections lost" "8 open, 0 lost; 0 failed, 0 wrong addresses" \
    "$(tail -n 1 /run/load | sed 's/, [0-9]* lines; [0-9]* calls,/;/')"
  ok "load: $(tail -n 1 /run/load)"
}
so_far() { tail -n 1 /run/load | tr -d ';' | cut -d " " -f "$1"; }
calls_beyond() { [ "$(so_far 7)" -gt "$1" ] && echo yes; }

data_path_leaves() {
  far swarm leave >/dev/null
  until_is "far: what is left after it has left the swarm" "" without_programs left_in_far
  docker swarm leave --force >/dev/null
  until_is "what is left after the swarm was left" "" without_programs left
  in_far bash -c 'pid=$(cat /run/skep.pid) && kill -TERM $pid && while [ -e /proc/$pid ]; do sleep 0.2; done'
  stop_daemon
  until_is "far: what is left after the daemon was stopped" "" left_in_far
  until_is "what is left after the daemon was stopped" "" left
}
# A daemon that runs shows crun on a mount of its own (program-view.ts); one that was stopped does not.
without_programs() { "$@" | sed '\#^[[:space:]]*mount: /[^ ]*/programs-[^ /]*/read-only #d'; }
left() { bash /payload/state.sh | sort | comm -3 /run/state -; }
left_in_far() { in_far bash /payload/state.sh | sort | comm -3 /run/state.far -; }
