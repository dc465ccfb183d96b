# The work "tenants" of compare-peers: strangers side by side, each switch told the same about them. Sourced after
# peers.sh. Both ports are access ports of VLAN 10, may only send as themselves, and are in four groups of 50 rules each, of
# which the last that is asked lets the traffic in.
# shellcheck shell=bash disable=SC2154

# What the ends of "viaduct bench flows" are.
tenant_macs=(02:76:64:00:00:00 02:76:64:00:00:01)
tenant_addresses=(192.0.2.1 192.0.2.2)
groups=4
# Connections that the switches have room for: a port of Viaduct may open a quarter of them.
connections=4194304

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

start_ovs_with_tenants() {
  local port control
  start_ovs
  for port in a b; do
    ovs_port "$port" dpdkvhostuserclient options:vhost-server-path="$work/$port.sock" -- set Port "$port" tag=10
  done
  ovs-ofctl del-flows wire
  tenant_flows 50 >"$work/flows"
  ovs-ofctl add-flows wire "$work/flows"
  control=("$work"/*vswitchd*.ctl)
  ovs-appctl -t "${control[0]}" dpctl/ct-set-maxconns "$connections" >/dev/null
}

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

# measure_tenants SWITCH FLOWS: millions a second, of frames or of new flows, noted and said.
measure_tenants() {
  local arguments=(--flows "$2") report=$work/tenants-report rate
  [ "$2" != new ] || arguments=(--new)
  [ "$1" != ovs-ct ] || arguments+=(--listen)
  start_tenants "$1"
  "$target_dir/release/viaduct" bench flows --sockets "$work/a.sock" "$work/b.sock" --name "$1" --rounds 1 \
    --seconds "$seconds" "${arguments[@]}" >"$report" 2>"$work/flows.log" ||
    fail "no flows through $1: $(tail -n 5 "$work/flows.log")" "The switch says: $(tail -n 5 "$log")"
  stop_all
  rate=$(awk -F '  +' '$2 == "frames" || $2 == "new flows" { print $4 }' "$report")
  printf '%s\n' "$rate" >>"$work/tenants-$1-$2"
  printf '%s: %s: %s M/s, %s %% lost\n' "$2" "$1" "$rate" "$(awk -F '  +' '$2 == "lost" { print $4 }' "$report")" >&2
}

# ratios FLOWS SWITCH OTHER [FLOWS]: of each round, and their median.
ratios() {
  local all
  all=$(paste "$work/tenants-$2-$1" "$work/tenants-$3-${4:-$1}" | awk '{ printf "%.3f\n", $1 / $2 }')
  printf '%12s flows  %s is %s x %s%s   rounds: %s\n' "$1" "$2" "$(median <<<"$all")" "$3" "${4:+ with $4}" "$(sort -g <<<"$all" | tr '\n' ' ')"
}

report_tenants() {
  local flows switch other
  for flows in $cases; do
    for switch in "${switches[@]}"; do
      printf '%12s flows  %-20s %7s M/s   rounds: %s\n' "$flows" "$switch" "$(median <"$work/tenants-$switch-$flows")" \
        "$(sort -g "$work/tenants-$switch-$flows" | tr '\n' ' ')"
    done
    for other in "${switches[@]}"; do
      [ "$other" = viaduct ] || [ ! -f "$work/tenants-viaduct-$flows" ] || ratios "$flows" viaduct "$other"
    done
    [ "$flows" = 10000 ] || [ ! -f "$work/tenants-viaduct-10000" ] || [ ! -f "$work/tenants-viaduct-$flows" ] ||
      ratios "$flows" viaduct viaduct 10000
  done
}

compare_tenants() {
  local flows switch
  for _ in $(seq "$rounds"); do
    for flows in $cases; do
      for switch in "${switches[@]}"; do measure_tenants "$switch" "$flows"; done
    done
  done
  report_tenants
}
