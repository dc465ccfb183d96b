# Known flows and new ones through switches that keep track of them, by "viaduct bench flows": what the works of
# compare-peers share that consist of them. Sourced after peers.sh.
# shellcheck shell=bash disable=SC2154

# Connections that the switches have room for: a port of Viaduct may open a quarter of them.
connections=4194304

# start_ovs_with_flows TAG COMMAND...: Open vSwitch with two ports, of the VLAN with this tag if there is one, and the flows that the
# command prints.
start_ovs_with_flows() {
  local tag=$1 port control details
  shift
  start_ovs
  for port in a b; do
    details=(options:vhost-server-path="$work/$port.sock")
    [ -z "$tag" ] || details+=(-- set Port "$port" tag="$tag")
    ovs_port "$port" dpdkvhostuserclient "${details[@]}"
  done
  ovs-ofctl del-flows wire
  "$@" >"$work/flows"
  ovs-ofctl add-flows wire "$work/flows"
  control=("$work"/*vswitchd*.ctl)
  ovs-appctl -t "${control[0]}" dpctl/ct-set-maxconns "$connections" >/dev/null
}

# measure_flows START SWITCH FLOWS [ARGUMENT]...: millions a second, of frames or of new flows, noted and said. START is a function
# that starts the switch of that name; FLOWS may have the bytes of a frame, without FCS, and a colon before it.
measure_flows() {
  local starter=$1 switch=$2 flows=$3 arguments report=$work/flows-report rate
  shift 3
  arguments=(--flows "${flows#*:}" "$@")
  [[ $flows != *:* ]] || arguments+=(--size "${flows%:*}")
  [[ $flows != new* ]] || arguments=(--new "$@")
  [[ $switch != ovs-* ]] || arguments+=(--listen)
  "$starter" "$switch"
  "$target_dir/release/viaduct" bench flows --sockets "$work/a.sock" "$work/b.sock" --name "$switch" --rounds 1 \
    --seconds "$seconds" "${arguments[@]}" >"$report" 2>"$work/flows.log" ||
    fail "no flows through $switch: $(tail -n 5 "$work/flows.log")" "The switch says: $(tail -n 5 "$log")"
  stop_all
  rate=$(awk -F '  +' '$2 == "frames" || $2 == "new flows" { print $4 }' "$report")
  printf '%s\n' "$rate" >>"$work/flows-$switch-$flows"
  printf '%s: %s: %s M/s, %s %% lost\n' "$flows" "$switch" "$rate" "$(awk -F '  +' '$2 == "lost" { print $4 }' "$report")" >&2
}

# ratios FLOWS SWITCH OTHER [FLOWS]: of each round, and their median.
ratios() {
  local all
  all=$(paste "$work/flows-$2-$1" "$work/flows-$3-${4:-$1}" | awk '{ printf "%.3f\n", $1 / $2 }')
  printf '%12s flows  %s is %s x %s%s   rounds: %s\n' "$1" "$2" "$(median <<<"$all")" "$3" "${4:+ with $4}" "$(sort -g <<<"$all" | tr '\n' ' ')"
}

# report_flows OURS: every switch, and how the one of this name compares.
report_flows() {
  local ours=$1 flows switch other
  for flows in $cases; do
    for switch in "${switches[@]}"; do
      [ -f "$work/flows-$switch-$flows" ] || continue
      printf '%12s flows  %-20s %7s M/s   rounds: %s\n' "$flows" "$switch" "$(median <"$work/flows-$switch-$flows")" \
        "$(sort -g "$work/flows-$switch-$flows" | tr '\n' ' ')"
    done
    for other in "${switches[@]}"; do
      [ "$other" = "$ours" ] || [ ! -f "$work/flows-$ours-$flows" ] || [ ! -f "$work/flows-$other-$flows" ] ||
        ratios "$flows" "$ours" "$other"
    done
    [ "$flows" = 10000 ] || [ ! -f "$work/flows-$ours-10000" ] || [ ! -f "$work/flows-$ours-$flows" ] ||
      ratios "$flows" "$ours" "$ours" 10000
  done
}
