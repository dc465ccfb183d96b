# The work "tenants" of compare-peers: strangers side by side, each switch told the same about them. Sourced after
# peers.sh. Both ports are access ports of VLAN 10, may only send as themselves, and are in four groups of 50 rules each, of
# which the last that is asked lets the traffic in.
# shellcheck shell=bash disable=SC2034,SC2154

# What the ends of "viaduct bench flows" are.
tenant_macs=(02:76:64:00:00:00 02:76:64:00:00:01)
tenant_addresses=(192.0.2.1 192.0.2.2)
groups=4

# prefix GROUP RULE, service GROUP RULE: whom a rule is for, and which TCP port.
prefix() { echo "10.$(($2 % 200)).$(($1 * 16)).0/20"; }
service() { echo $(($1 * 5000 + $2)); }

# tenant_groups RULES REMOTE: the groups of a configuration. All but the first rule of the last are for others.
tenant_groups() {
  local group rule remote
  for ((group = 1; group <= groups; group++)); do
    printf '[group.g%d]\nrules = [\n' "$group"
    for ((rule = 1; rule < $1; rule++)); do
      remote="remote = \"$(prefix "$group" "$rule")\""
      [ "$2" = prefixes ] || [ $((rule % 2)) -eq 0 ] || remote='remote_group = "g1"'
      printf '  { direction = "ingress", protocol = "tcp", ports = %d, %s },\n' "$(service "$group" "$rule")" "$remote"
    done
    [ "$group" -lt "$groups" ] || printf '  { direction = "ingress", protocol = "udp", remote = "192.0.2.0/24" },\n'
    printf ']\n'
  done
}

# tenants_of_viaduct RULES MEMBERS REMOTE
tenants_of_viaduct() {
  local number
  cat <<END
[switch]
runtime_dir = "$work"
state_dir = "$work/state"
cpus = [$switch_core]
polling = "$polling"
connections = $connections
[network.tenant]
vlan = 10
END
  tenant_groups "$1" "$3"
  for number in 0 1; do
    printf '[port.%s]\nnetwork = "tenant"\nsocket = "%s"\nmac = "%s"\naddresses = ["%s"]\ngroups = ["g1", "g2", "g3", "g4"]\n' \
      "${tenant_ports[number]}" "$work/${tenant_ports[number]}.sock" "${tenant_macs[number]}" "${tenant_addresses[number]}"
    printf 'new_connections = "unlimited"\njudged_packets = "unlimited"\n'
  done
  for ((number = 1; number <= $2; number++)); do
    printf '[port.idle%d]\nnetwork = "tenant"\naddresses = ["10.9.%d.%d"]\ngroups = ["g1"]\n' "$number" \
      $((number / 250)) $((number % 250 + 1))
  done
}
tenant_ports=(a b)

start_viaduct_with_tenants() {
  tenants_of_viaduct "$@" >"$work/tenants.toml"
  start "$target_dir/release/viaduct" run --config "$work/tenants.toml"
}

# The same as flows of Open vSwitch: anti-spoofing, connections in a zone, what is new asked by the rules of the receiver's groups.
tenant_flows() {
  local group rule number
  for number in 0 1; do
    echo "table=0,priority=20,in_port=${tenant_ports[number]},dl_src=${tenant_macs[number]},ip,nw_src=${tenant_addresses[number]},actions=ct(table=1,zone=10)"
    echo "table=0,priority=20,in_port=${tenant_ports[number]},dl_src=${tenant_macs[number]},arp,arp_sha=${tenant_macs[number]},arp_spa=${tenant_addresses[number]},actions=NORMAL"
  done
  echo "table=0,priority=0,actions=drop"
  echo "table=1,priority=20,ct_state=+trk+est-rel,ip,actions=NORMAL"
  echo "table=1,priority=20,ct_state=+trk+inv,ip,actions=drop"
  # What a guest begins is let out; the receiver's groups decide.
  echo "table=1,priority=10,ct_state=+trk+new,ip,actions=resubmit(,2)"
  for number in 0 1; do
    for ((group = 1; group <= groups; group++)); do
      for ((rule = 1; rule < $1; rule++)); do
        echo "table=2,priority=10,dl_dst=${tenant_macs[number]},tcp,nw_src=$(prefix "$group" "$rule"),tp_dst=$(service "$group" "$rule"),actions=ct(commit,zone=10),NORMAL"
      done
    done
    echo "table=2,priority=10,dl_dst=${tenant_macs[number]},udp,nw_src=192.0.2.0/24,actions=ct(commit,zone=10),NORMAL"
  done
  echo "table=2,priority=0,actions=drop"
}

start_ovs_with_tenants() { start_ovs_with_flows 10 tenant_flows 50; }

# start_tenants SWITCH: a switch with tenants.
start_tenants() {
  rm -f "$work"/*.sock
  log=$work/$1.log
  case $1 in
    testpmd) start_testpmd ;;
    viaduct) start_viaduct_with_tenants 50 0 prefixes ;;
    viaduct:10000-rules) start_viaduct_with_tenants 2500 1000 groups ;;
    ovs-ct) start_ovs_with_tenants; return ;;
  esac
  wait_for_sockets "$1" "$work/a.sock" "$work/b.sock"
}

compare_tenants() {
  local flows switch
  for _ in $(seq "$rounds"); do
    for flows in $cases; do
      for switch in "${switches[@]}"; do measure_flows start_tenants "$switch" "$flows"; done
    done
  done
  report_flows viaduct
}
