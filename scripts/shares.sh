# The work "shares" of compare-peers: what a meter where frames enter costs, and a tree of classes before both receivers; beside the
# same tree of Linux's htb. Sourced after flows.sh.
# shellcheck shell=bash disable=SC2034,SC2154

# A rate that nothing here comes near.
plenty=100gbit
# The first end's ports of UDP, of 10,000 flows (viaduct bench flows), in four equal parts: one for each class.
class_ports=(1024-3523 3524-6023 6024-8523 8524-65535)

# classes FIELD RATE_BITS: a root, two classes, and two below each, told apart by a port of UDP; names of the tree's fields are "shaped-FIELD".
classes() {
  local name=shaped-$1 rate=$2 number class
  printf '[qos.%s]\nkind = "htb"\nrate = "%dbit"\ndefault = "b2"\npackets = 65536\n' "$name" "$rate"
  for number in a b; do
    printf '[qos.%s.class.%s]\nrate = "%dbit"\nceil = "%dbit"\n' "$name" "$number" $((rate / 2)) "$rate"
  done
  for number in a1 a2 b1 b2; do
    printf '[qos.%s.class.%s]\nparent = "%s"\nrate = "%dbit"\nceil = "%dbit"\nqueue = { kind = "fifo", packets = 2000 }\n' \
      "$name" "$number" "${number%?}" $((rate / 4)) "$rate"
  done
  number=0
  for class in a1 a2 b1 b2; do
    printf '[[qos.%s.filter]]\nprotocol = "udp"\n%s = "%s"\nclass = "%s"\n' "$name" "$1" "${class_ports[number]}" "$class"
    number=$((number + 1))
  done
}

# shares_of_viaduct QOS_A QOS_B: two ports of a network, each with its QoS, if it has one.
shares_of_viaduct() {
  local port qos=("$@")
  cat <<END
[switch]
runtime_dir = "$work"
state_dir = "$work/state"
cpus = [$switch_core]
polling = "$polling"
[network.wire]
END
  for port in a b; do
    printf '[port.%s]\nnetwork = "wire"\nsocket = "%s"\nmtu = 9000\n' "$port" "$work/$port.sock"
    [ -z "${qos[0]}" ] || printf 'qos = "%s"\n' "${qos[0]}"
    qos=("${qos[@]:1}")
  done
}

# shares_file SWITCH BYTES: its configuration. Frames for port b have the first end's port as their source, those for a as their destination.
shares_file() {
  local rate=100000000000
  case $1 in
    unshaped) shares_of_viaduct '' '' ;;
    policed)
      shares_of_viaduct held held
      printf '[qos.held.ingress]\npolice = "%s"\nburst = "1MiB"\npackets = "100mpps"\npacket_burst = 4096\n' "$plenty"
      ;;
    tree | tree:*)
      shares_of_viaduct shaped-destination_port shaped-source_port
      # So many millions of frames a second, both ways together.
      [ "$1" = tree ] || rate=$(awk -v m="${1#tree:}" -v bytes="$2" 'BEGIN { printf "%d", m * 1e6 / 2 * bytes * 8 }')
      classes destination_port "$rate"
      classes source_port "$rate"
      ;;
    bucket:*)
      shares_of_viaduct bucket bucket
      printf '[qos.bucket]\negress = { kind = "tbf", rate = "%smbit", queue = { kind = "fifo", packets = 2000 } }\n' "${1#bucket:}"
      ;;
  esac
}

start_shares() {
  rm -f "$work"/*.sock
  log=$work/$1.log
  if [ "$1" = before ]; then
    VIADUCT_BIN=$before start_viaduct
  else
    shares_file "$1" "$share_bytes" >"$work/shares.toml"
    start "$target_dir/release/viaduct" run --config "$work/shares.toml"
  fi
  wait_for_sockets "$1" "$work/a.sock" "$work/b.sock"
}

# linux_htb: the same tree before one end of a veth pair, in a namespace.
linux_htb() {
  local number class tc
  namespace=viaduct-shares-$$
  tc="ip netns exec $namespace tc"
  ip netns add "$namespace"
  ip -n "$namespace" link add wire0 type veth peer name wire1
  ip -n "$namespace" link set wire0 up
  ip -n "$namespace" link set wire1 up
  $tc qdisc add dev wire0 root handle 1: htb default 22
  $tc class add dev wire0 parent 1: classid 1:1 htb rate "$plenty" ceil "$plenty"
  for number in 1 2; do
    $tc class add dev wire0 parent 1:1 classid "1:${number}0" htb rate 50gbit ceil "$plenty"
    $tc class add dev wire0 parent "1:${number}0" classid "1:${number}1" htb rate 25gbit ceil "$plenty"
    $tc class add dev wire0 parent "1:${number}0" classid "1:${number}2" htb rate 25gbit ceil "$plenty"
  done
  # Flows of testpmd differ in the last byte of their source.
  number=0
  for class in 11 12 21 22; do
    $tc filter add dev wire0 parent 1: protocol ip u32 match u32 "$number" 0x3 at 12 flowid "1:$class"
    number=$((number + 1))
  done
} 2>>"$log"

received() { ip netns exec "$namespace" cat /sys/class/net/wire1/statistics/rx_packets; }

# measure_linux CASE: frames a second that one core brings through the kernel's htb into a veth pair: DPDK's packet sockets send what they
# make themselves, so that reading a ring costs nothing.
measure_linux() {
  local before_frames rate
  rm -f "$work"/*.sock
  log=$work/linux-htb.log
  linux_htb
  # shellcheck disable=SC2046 # words are meant to be split
  start ip netns exec "$namespace" dpdk-testpmd $(testpmd_on "$switch_core" htb) \
    --vdev net_af_packet0,iface=wire0,qdisc_bypass=0,framecnt=512 -- \
    --forward-mode=txonly --txonly-multi-flow --auto-start --txpkts="$share_bytes" --stats-period=100
  for _ in $(seq 100); do
    [ "$(received)" -lt 1000 ] || break
    sleep 0.1
  done
  sleep 1
  before_frames=$(received)
  sleep "$seconds"
  rate=$(awk -v a="$before_frames" -v b="$(received)" -v s="$seconds" 'BEGIN { printf "%.3f", (b - a) / s / 1e6 }')
  stop_all
  end_namespace
  printf '%s\n' "$rate" >>"$work/flows-linux-htb-$1"
  printf '%s: linux-htb: %s M/s\n' "$1" "$rate" >&2
}

# measure_share SWITCH CASE
measure_share() {
  share_bytes=64
  [[ $2 != *:* ]] || share_bytes=${2%:*}
  if [ "$1" = linux-htb ]; then measure_linux "$2"; else measure_flows start_shares "$1" "$2"; fi
}

# compare_shares: the order of the switches turns round in every other round, so that a machine that gets slower harms none of them alone.
compare_shares() {
  local round flows number switch pair
  for round in $(seq "$rounds"); do
    for flows in $cases; do
      for ((number = 0; number < ${#switches[@]}; number++)); do
        switch=${switches[number]}
        [ $((round % 2)) -eq 1 ] || switch=${switches[${#switches[@]} - 1 - number]}
        measure_share "$switch" "$flows"
      done
    done
  done
  for flows in $cases; do
    for switch in "${switches[@]}"; do
      printf '%12s flows  %-12s %7s M/s   rounds: %s\n' "$flows" "$switch" "$(median <"$work/flows-$switch-$flows")" \
        "$(sort -g "$work/flows-$switch-$flows" | tr '\n' ' ')"
    done
    for pair in unshaped/before policed/unshaped tree/unshaped tree/linux-htb; do
      [ ! -f "$work/flows-${pair%/*}-$flows" ] || [ ! -f "$work/flows-${pair#*/}-$flows" ] || ratios "$flows" "${pair%/*}" "${pair#*/}"
    done
  done
}
