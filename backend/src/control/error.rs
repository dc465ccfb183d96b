//! What can go wrong on the control side: each error names what, where and the remedy.

use std::io;

use viaduct_switch::policy::PolicyError;

use crate::control::ControlGone;
use crate::dataplane::DataplaneError;
use crate::takeover::TakeoverError;
use crate::vhost_user::SocketError;

/// Why a configuration was not applied; the running state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nobody is there to apply it.
    #[error(transparent)]
    ControlGone(#[from] ControlGone),
    /// A new process is about to take over.
    #[error(
        "a new process is about to take over; nothing was changed. Ask again, in a second or two: it will answer"
    )]
    TakeoverUnderWay,
    /// What another process runs could not be taken over.
    #[error("nothing was taken over, and the daemon that ran runs on: {0}")]
    Takeover(#[source] TakeoverError),
    /// Another configuration runs than its sender has seen.
    #[error(
        "generation {running} runs, which is not the expected one; nothing was changed. Read the state again and decide \
         anew"
    )]
    Generation {
        /// What runs.
        running: u64,
    },
    /// The setting is read once, at the start.
    #[error(
        "switch.{setting} cannot change from {running} to {wanted} while the daemon runs; nothing was changed. \
         Restart the daemon (guests carry on by themselves), or put {running} back"
    )]
    NeedsRestart {
        /// The setting's name in `[switch]`.
        setting: &'static str,
        /// What runs.
        running: String,
        /// What the new configuration says.
        wanted: String,
    },
    /// There are more objects than the data path has numbers for.
    #[error(
        "{count} {what} are more than the {max} that one switch can have; nothing was changed. Remove some"
    )]
    TooMany {
        /// `ports` or `networks`.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// How many there can be.
        max: usize,
    },
    /// Ports have numbers that overlays need.
    #[error(
        "port {port} and {others} others have numbers that an overlay needs for the other ends of its tunnels, since there were more \
         than {max} ports and uplinks here once; nothing was changed. Restart the daemon with this file (guests carry on by themselves), or \
         apply it without these ports first and with them then"
    )]
    PortsInTheWay {
        /// One of them.
        port: String,
        /// How many there are beside it.
        others: usize,
        /// How many ports there can be beside overlays.
        max: usize,
    },
    /// Two ports would share one socket.
    #[error(
        "port {second} has the same socket as port {first}: {}; nothing was changed. Give each port its own",
        path.display()
    )]
    SameSocket {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// The path.
        path: std::path::PathBuf,
    },
    /// A port's network does not exist.
    #[error(
        "port {port} belongs to network {network}, which does not exist; nothing was changed. Declare [network.{network}]"
    )]
    NoNetwork {
        /// The port.
        port: String,
        /// Its network.
        network: String,
    },
    /// A port's group does not exist.
    #[error(
        "port {port}: there is no group {group}; nothing was changed. Declare [group.{group}], or take one of those that \
         `viaduct show groups` lists"
    )]
    NoGroup {
        /// The port.
        port: String,
        /// Its group.
        group: String,
    },
    /// What a port sends too fast cannot wait where that is not a guest.
    #[error(
        "port {port}: qos.{qos} has exceed = \"wait\", and only a guest can be made to wait; nothing was changed. Take a QoS that \
         drops what exceeds its rate"
    )]
    CannotWait {
        /// The port, or an uplink.
        port: String,
        /// Its QoS.
        qos: String,
    },
    /// A port's QoS does not exist.
    #[error(
        "port {port}: there is no QoS {qos}; nothing was changed. Declare [qos.{qos}] in the file and apply it, or take one that is \
         declared there"
    )]
    NoQos {
        /// The port.
        port: String,
        /// Its QoS.
        qos: String,
    },
    /// There is no such port.
    #[error("there is no port {port}; nothing was changed. `viaduct show ports` lists all")]
    NoPort {
        /// What was asked for.
        port: String,
    },
    /// A port that cannot be in groups, or would be in none.
    #[error("port {port} {why}; nothing was changed. {remedy}")]
    NotFiltered {
        /// The port.
        port: String,
        /// Why not.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The group of the sockets does not exist, or may not be given.
    #[error("switch: {0}; nothing was changed")]
    Access(SocketError),
    /// A port's socket could not be made.
    #[error("port {port}: {error}; nothing was changed")]
    Socket {
        /// The port.
        port: String,
        /// Why.
        error: SocketError,
    },
    /// A port's socket would be where this process can make none any more.
    #[error("port {port}: {error}; nothing was changed")]
    Place {
        /// The port.
        port: String,
        /// Why.
        error: crate::sandbox::Outside,
    },
    /// The switch refuses it as a whole.
    #[error("the switch refuses the configuration: {0}; nothing was changed")]
    Policy(#[from] PolicyError),
    /// Routers contradict each other.
    #[error("{0}")]
    Routing(#[from] viaduct_switch::router::RoutingError),
    /// Overlay networks contradict each other.
    #[error("{0}")]
    Tunnels(#[from] viaduct_switch::tunnel::TunnelError),
    /// Translations of addresses contradict each other.
    #[error("{0}")]
    Nat(#[from] viaduct_switch::nat::NatError),
    /// The event loop refused a descriptor: the process has too many.
    #[error(
        "port {port}: cannot watch its socket: {error}; nothing was changed. Raise the limit of open files \
         (LimitNOFILE= in the unit, or ulimit -n)"
    )]
    Watch {
        /// The port.
        port: String,
        /// Why.
        error: event_manager::Error,
    },
}

/// Why the control loop did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The first configuration was refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The data path did not start.
    #[error("cannot start the data path: {0}")]
    Dataplane(#[from] DataplaneError),
    /// A descriptor that the loop needs could not be made.
    #[error(
        "cannot make the {what} of the control loop: {error}; raise the limit of open files (LimitNOFILE=)"
    )]
    Setup {
        /// Which one.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Waiting for events failed.
    #[error("the control loop cannot wait for events: {0}; this is a bug, please report it")]
    Events(event_manager::Error),
}
