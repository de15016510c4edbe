#!/bin/bash
# The server of the virtual machine's data path, run in containers from the machine's own programs: over TCP it says who calls
# and repeats what it hears, over SCTP it says the name of its container.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ "$1" = who ]; then
  echo "$SOCAT_PEERADDR"
  exec cat
fi
# One way only: the end of what a side has to say would end the association.
socat -U SCTP4-LISTEN:7778,reuseaddr,fork EXEC:"cat /proc/sys/kernel/hostname" &
exec socat TCP4-LISTEN:7777,reuseaddr,fork,backlog=64 EXEC:"bash /payload/echo.sh who"
