# Functions that compare-peers and compare-uplinks share; sourced after common.sh. Both set `work`, a folder of
# their own, and `log`, the file of the switch under test.
# shellcheck shell=bash disable=SC2034,SC2154

hugepages=1024 hugepages_file=/proc/sys/vm/nr_hugepages
switch_core=0 generator_core=1
ovs_vswitchd=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
pids=()

check_machine() {
  local tool
  [ "$(id -u)" -eq 0 ] || fail "hugepages and DPDK need root" "Run it as root."
  [ "$(nproc)" -ge 2 ] || fail "this machine has one processor core" "The switch and the generator need one each."
  [ -x "$target_dir/release/viaduct" ] || fail "$target_dir/release/viaduct is missing" "Build it: cargo build --release -p viaduct"
  for tool in dpdk-testpmd ovsdb-server ovs-vsctl ovs-ofctl "$ovs_vswitchd"; do
    command -v "$tool" >/dev/null || fail "$tool is missing" "scripts/setup installs it."
  done
}

reserve_hugepages() {
  hugepages_before=$(cat "$hugepages_file")
  [ "$hugepages_before" -ge "$hugepages" ] || echo "$hugepages" >"$hugepages_file"
  [ "$(cat "$hugepages_file")" -ge "$hugepages" ] || {
    echo "$hugepages_before" >"$hugepages_file"
    fail "the kernel has no $hugepages hugepages of 2 MiB to give" "Free memory, or drop caches: echo 3 >/proc/sys/vm/drop_caches"
  }
}

# Ends what was started, by process id, and waits until it is gone.
stop_all() {
  local pid file
  for file in "$work"/*.pid; do
    [ -f "$file" ] || continue
    pids+=("$(cat "$file")")
    rm -f "$file"
  done
  for pid in ${pids[@]+"${pids[@]}"}; do kill "$pid" 2>/dev/null || true; done
  for pid in ${pids[@]+"${pids[@]}"}; do
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  pids=()
  # What a switch kept for its next start (connections, mappings) would be work of the next measurement.
  rm -rf "${work:?}/state"
}

clean_up() {
  stop_all
  ! declare -F end_namespace >/dev/null || end_namespace
  [ "$(cat "$hugepages_file")" = "$hugepages_before" ] || echo "$hugepages_before" >"$hugepages_file"
  rm -rf "$work"
}

start() {
  "$@" >"$log" 2>&1 &
  pids+=($!)
}

# testpmd_on CORE PREFIX: the arguments that both uses of testpmd share.
testpmd_on() {
  echo "--lcores 0@$1,1@$1 --no-pci --in-memory --single-file-segments -m 512 --file-prefix=$2-$$ --no-telemetry"
}

# start_ovs [WORD]...: Open vSwitch with folders, a database and sockets of its own and an empty bridge, which learns;
# its programs are started by these words.
start_ovs() {
  export OVS_RUNDIR=$work OVS_DBDIR=$work OVS_LOGDIR=$work
  ovs_database=unix:$work/database.sock
  rm -f "$work/conf.db"
  ovsdb-tool create "$work/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  ovsdb-server "$work/conf.db" --remote="p$ovs_database" --pidfile="$work/database.pid" --detach --log-file="$work/database.log" 2>/dev/null
  ovs-vsctl --db="$ovs_database" --no-wait init
  ovs-vsctl --db="$ovs_database" --no-wait set Open_vSwitch . other_config:dpdk-init=true \
    other_config:dpdk-extra="--no-pci --in-memory -m 512 ${ovs_dpdk_extra:-}" other_config:pmd-cpu-mask="$(printf '0x%x' $((1 << switch_core)))"
  "$@" taskset -c "$switch_core" "$ovs_vswitchd" "$ovs_database" --pidfile="$work/vswitchd.pid" --detach --log-file="$log" 2>/dev/null
  ovs-vsctl --db="$ovs_database" add-br wire -- set bridge wire datapath_type=netdev
  ovs-ofctl del-flows wire
  ovs-ofctl add-flow wire actions=NORMAL
}

# ovs_port NAME TYPE [OPTION]...: another port of the bridge.
ovs_port() {
  local name=$1 type=$2
  shift 2
  ovs-vsctl --db="$ovs_database" add-port wire "$name" -- set Interface "$name" type="$type" "$@"
}

# wait_for_sockets SWITCH SOCKET...
wait_for_sockets() {
  local switch=$1 socket
  shift
  for socket in "$@"; do
    for _ in $(seq 100); do
      [ ! -S "$socket" ] || continue 2
      sleep 0.1
    done
    fail "$switch made no socket $socket within 10 seconds: $(tail -n 3 "$log")"
  done
}

median() { sort -g | awk '{ value[NR] = $1 } END { print NR ? value[int((NR + 1) / 2)] : 0 }'; }

# divide A B: to two digits.
divide() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

in_mpps() { sort -g | awk '{ printf " %.2f", $1 / 1e6 }'; }

