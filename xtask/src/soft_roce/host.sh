# Run by bash, as root, in a host. The lines that script.rs puts before these export the caller's variables and set:
# host (0 or 1), hosts (1 or 2), rails, folder, command. What is printed outside the command goes to the console.
control=/run/pegaflow/control
# The search path of an ordinary user lacks these, and here he is root.
PATH=$PATH:/usr/sbin:/sbin
give_up() { echo "soft-roce: host $host: $*"; exit; }

# Memory that is registered is pinned.
ulimit -l unlimited
ulimit -n 65536
mkdir -p /tmp

netdevs=()
for ((rail = 0; rail < rails; rail++)); do
  net=rail$rail
  if ((hosts == 2)); then
    # Interfaces come up in any order; their addresses are set in qemu.rs.
    address=$(printf '52:54:00:09:%02x:%02x' "$rail" "$host")
    for file in /sys/class/net/*/address; do
      [[ $(<"$file") == "$address" ]] && ip link set "$(basename "$(dirname "$file")")" name $net
    done
  else
    # rdma_rxe refuses lo.
    ip link add $net type veth peer name end$rail && ip link set end$rail mtu 4200 up
  fi
  # 4200 bytes on the interface give an active MTU of 4096.
  ip addr add 10.9.$rail.$((host + 1))/24 dev $net && ip link set $net mtu 4200 up || give_up "no interface for rail $rail"
  rdma link add rxe$rail type rxe netdev $net || give_up "no device rxe$rail"
  netdevs+=($net)
done
for ((rail = 0; rail < rails; rail++)); do
  port=/sys/class/infiniband/rxe$rail/ports/1
  # GID 0 is the link-local one. Index 1, RoCEv2 over IPv4, is filled in a moment after the device is there.
  for _ in {1..100}; do [[ $(<$port/state) == *ACTIVE* && $(<$port/gids/1) == *:ffff:0a09:* ]] && break; sleep .1; done
  [[ $(<$port/state) == *ACTIVE* ]] || give_up "rxe$rail: the port's state is $(<$port/state), expected ACTIVE"
  if ((hosts == 2)); then
    peer=10.9.$rail.$((2 - host))
    for _ in {1..120}; do busybox ping -c1 -W1 $peer >/dev/null 2>&1 && break; done || give_up "$peer does not answer"
  fi
done

export PEGAFLOW_HOST=$host PEGAFLOW_RAILS=$rails PEGAFLOW_NETDEVS="${netdevs[*]}" PEGAFLOW_OUT=/run/pegaflow/out
export PEGAFLOW_HOST_ADDR=10.9.0.$((host + 1)) PEGAFLOW_PEER_ADDR=10.9.0.$((hosts == 2 ? 2 - host : 1))
cd "$folder" || give_up "no folder $folder"
: >$control/up-$host

# The command writes to pipes: to a program a file is another thing, that it may truncate or seek in.
mkfifo /run/pegaflow/stdout /run/pegaflow/stderr
cat /run/pegaflow/stdout >$control/stdout-$host & out=$!
cat /run/pegaflow/stderr >$control/stderr-$host & err=$!
(exec -- "${command[@]}") >/run/pegaflow/stdout 2>/run/pegaflow/stderr </dev/null
status=$?
# What the command left behind may hold the pipes open: it gets no more than this to finish a line.
for _ in {1..50}; do kill -0 $out $err 2>/dev/null || break; sleep .1; done
echo $status >$control/status-$host

# A host that goes takes its cables with it: it stays until the other's command has ended too.
if ((hosts == 2)); then
  until [[ -s $control/status-$((1 - host)) ]]; do sleep .2; done
fi
