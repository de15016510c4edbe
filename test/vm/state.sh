#!/bin/bash
# Everything of networks that a machine, or the namespaces this runs in, has: one line each, to be compared with another time.
sed_names='s/ link-netns\(id\)\? [^ ]*//; s/ qlen [0-9]*//'
ip -oneline link show | sed -e 's/^[0-9]*: /link: /' -e "$sed_names"
ip -oneline address show | sed -e 's/^[0-9]*: /address: /'
ip route show table all | sed 's/^/route: /'
ip -6 route show table all | sed 's/^/route6: /'
ip rule | sed 's/^/rule: /'
ip -6 rule | sed 's/^/rule6: /'
bridge fdb | sed 's/^/fdb: /'
nft --stateless list ruleset | sed 's/^/nft: /'
ip netns list | sed -e 's/ .*//' -e 's/^/netns: /'
find /run/skep/netns -type f 2>/dev/null | sed 's/^/netns: /'
# systemd mounts it when somebody looks, and takes it away again later: seen at both times.
ls /proc/sys/fs/binfmt_misc/ >/dev/null 2>&1
findmnt --raw --noheadings --output TARGET,FSTYPE,SOURCE | sed 's/^/mount: /'
# How many connections there are is no setting.
sysctl --all --pattern '^net\.' 2>/dev/null | sed -e '/nf_conntrack_count/d' -e 's/^/sysctl: /'
