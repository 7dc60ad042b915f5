#!/bin/sh
# Puts 169.254.169.254 on this node, unless somebody answers there already. The agent's init container runs this as
# root with NET_ADMIN and nothing else; it needs curl and an `ip`, BusyBox's will do.
#
# The question has to come before the address: once the address is the node's own, a cloud's metadata service behind it
# is out of reach, for the agent that would refuse to start and for every program on the node.
set -eu

address=169.254.169.254
interface=thim0
# The kernel asks three times within it (after 1 and 3 s again): a packet may be lost, and ARP takes its time.
seconds=5

if ip -o -4 addr show | grep -qF "inet $address/"; then
    # Put there at an earlier start, or by whoever set up the node. Whether another program serves on it, the agent finds out.
    echo "$address is on this node already"
    exit 0
fi

# Not 0 as soon as a TCP connection came about, whatever was or was not said over it.
connected=$(curl --silent --output /dev/null --noproxy '*' --max-time "$seconds" --write-out '%{time_connect}' "http://$address/" || true)
if [ -z "$connected" ]; then
    echo "could not ask whether $address answers: curl said nothing" >&2
    exit 2
fi
# "0" and "0.000000" say that there was none.
if [ -n "$(printf %s "$connected" | tr -d 0.)" ]; then
    echo "$address answers already: this is a cloud's own metadata service, which must not be shadowed." >&2
    echo "Keep the agent off this node (its nodeSelector), or give it another address ([http] listen of agent.toml)." >&2
    exit 1
fi

# An interface of its own is easy to see and to take away. Where the kernel has no dummy interfaces, the loopback does.
if ip link show "$interface" >/dev/null 2>&1 || ip link add "$interface" type dummy 2>/dev/null; then
    ip link set "$interface" up
else
    interface=lo
fi
ip addr add "$address/32" dev "$interface"
echo "$address is on $interface now"
