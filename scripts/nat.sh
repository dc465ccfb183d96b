# The work "nat" of compare-peers: a station inside talks to one outside, by a gateway that hides it behind its own address; and
# what the same costs without. Sourced after flows.sh. Inside is 10.0.0.0/16, outside 192.0.2.0/24; end b of "viaduct bench flows" is a
# station of the outside, and no uplink of the machine takes part: its interface is one of a namespace of its own.
# shellcheck shell=bash disable=SC2034,SC2154

inside_gateway=10.0.0.1 outside_address=192.0.2.254
# Stations inside, from 10.0.1.0 on, whose new flows need a mapping each; and the addresses by which they leave.
stations=256 pool=192.0.2.128-192.0.2.191
# What Open vSwitch is told that its gateway's Ethernet addresses are.
ovs_inside=02:00:00:00:01:01 ovs_outside=02:00:00:00:01:02

# nat_of_viaduct MODE: nat or routed. Unless another limit is said, one station gets no more of an address's ports than it leaves to
# others; the one whose new flows have mappings already has 60,000.
nat_of_viaduct() {
  cat <<END
[switch]
runtime_dir = "$work"
state_dir = "$work/state"
cpus = [$switch_core]
polling = "$polling"
connections = $connections
[uplink.isp]
interface = "isp0"
netns = "$namespace"
address = "$outside_address/24"
[network.outside]
mode = "bridged"
uplink = "isp"
[network.inside]
mode = "$1"
uplink = "isp"
subnets = ["$inside_gateway/16"]
[port.a]
network = "inside"
socket = "$work/a.sock"
mtu = 9000
new_connections = "unlimited"
judged_packets = "unlimited"
[port.b]
network = "outside"
socket = "$work/b.sock"
mtu = 9000
END
  [ "$1" != nat ] || cat <<END
[[network.inside.snat]]
source = "10.0.1.0/24"
to = "$pool"
[network.inside.nat]
port_limit = 60000
END
}

start_gateway_of_viaduct() {
  namespace=viaduct-nat-$$
  ip netns add "$namespace"
  ip -n "$namespace" link add isp0 address 02:00:00:00:01:03 type veth peer name isp1
  ip -n "$namespace" link set isp0 up
  ip -n "$namespace" link set isp1 up
  nat_of_viaduct "$1" >"$work/nat.toml"
  start "$target_dir/release/viaduct" run --config "$work/nat.toml"
}

end_namespace() { [ -z "${namespace:-}" ] || ip netns delete "$namespace" 2>/dev/null || true; namespace=; }

# answer_for PORT ADDRESS MAC: a flow that answers who asks for an address (ovs-actions(7)).
answer_for() {
  local hex=${3//:/}
  echo "table=0,priority=30,in_port=$1,arp,arp_op=1,arp_tpa=$2,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:$3,load:0x2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],load:0x$hex->NXM_NX_ARP_SHA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],load:$(printf '0x%02x%02x%02x%02x' ${2//./ })->NXM_OF_ARP_SPA[],IN_PORT"
}

# The same as flows of Open vSwitch. It knows both stations' Ethernet addresses; ours ask for them.
nat_flows() {
  local first=${pool%-*} last=${pool#*-}
  answer_for a "$inside_gateway" "$ovs_inside"
  answer_for b "$outside_address" "$ovs_outside"
  echo "table=0,priority=0,actions=drop"
  echo "table=0,priority=20,in_port=a,ip,nw_src=10.0.1.0/24,actions=ct(commit,nat(src=$first-$last:1024-65023),table=1,zone=10)"
  echo "table=0,priority=10,in_port=a,ip,nw_src=10.0.0.0/16,actions=ct(commit,nat(src=$outside_address:1024-65023),table=1,zone=10)"
  echo "table=0,priority=10,in_port=b,ip,actions=ct(nat,table=2,zone=10)"
  echo "table=1,priority=10,ip,actions=dec_ttl,mod_dl_src:$ovs_outside,mod_dl_dst:${tenant_macs[1]},output:b"
  echo "table=2,priority=10,ct_state=+trk+est,ip,actions=dec_ttl,mod_dl_src:$ovs_inside,mod_dl_dst:${tenant_macs[0]},output:a"
  echo "table=2,priority=0,actions=drop"
}

# start_gateway SWITCH
start_gateway() {
  rm -f "$work"/*.sock
  log=$work/$1.log
  case $1 in
    ovs-nat) start_ovs_with_flows '' nat_flows; return ;;
    bridged) start_viaduct ;;
    routed) start_gateway_of_viaduct routed ;;
    masqueraded) start_gateway_of_viaduct nat ;;
  esac
  wait_for_sockets "$1" "$work/a.sock" "$work/b.sock"
}

# measure_gateway SWITCH FLOWS
measure_gateway() {
  local arguments=(--addresses 10.0.0.10 192.0.2.2 --gateway "$inside_gateway")
  case $1-$2 in
    bridged-new* | routed-new*) return ;;
    bridged-*) arguments=() ;;
    *-new) arguments=(--addresses 10.0.1.0 192.0.2.2 --gateway "$inside_gateway" --stations "$stations") ;;
  esac
  measure_flows start_gateway "$1" "$2" "${arguments[@]}"
  end_namespace
}

compare_gateways() {
  local flows switch
  for _ in $(seq "$rounds"); do
    for flows in $cases; do
      for switch in "${switches[@]}"; do measure_gateway "$switch" "$flows"; done
    done
  done
  report_flows masqueraded
}
