//! Why stations are not as who feeds them wants: each error names which, and the remedy.

use std::net::IpAddr;

use viaduct_switch::MacAddress;

use crate::control::ControlGone;

/// Why a change of stations that are fed was refused; nothing of it was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StationError {
    /// Nobody is there to do it.
    #[error(transparent)]
    ControlGone(#[from] ControlGone),
    /// A new process is about to take over, and would not know of it.
    #[error(
        "a new process is about to take over; nothing was changed. Ask again, in a second or two: it will answer"
    )]
    TakeoverUnderWay,
    /// The table is another one than its sender has seen.
    #[error(
        "the network's stations have generation {running}, which is not the expected one; nothing was changed. Read them again \
         and decide anew"
    )]
    Generation {
        /// That of the table.
        running: u64,
    },
    /// The table has a later number already.
    #[error(
        "the network's stations have generation {running} already, which is not before {wanted}; nothing was changed. Number \
         changes upwards, or leave `generation` out"
    )]
    OldGeneration {
        /// That of the table.
        running: u64,
        /// What it should have become.
        wanted: u64,
    },
    /// The number is too large for later ones to follow.
    #[error(
        "found generation {wanted}, expected {max} at most; nothing was changed. Leave `generation` out, or number changes from 1"
    )]
    LargeGeneration {
        /// What it should have become.
        wanted: u64,
        /// The largest one.
        max: u64,
    },
    /// There is no such network.
    #[error("there is no network {0}; nothing was changed. `viaduct show networks` lists all")]
    NoNetwork(String),
    /// The network has no other machines.
    #[error(
        "network {0} has no `overlay`, so that it has no stations on other machines; nothing was changed. Give it one in the file"
    )]
    NoOverlay(String),
    /// There is no such station.
    #[error(
        "no station {0} is fed; nothing was changed. `viaduct show stations NETWORK` lists all, and what the file has only the file takes away"
    )]
    NoStation(MacAddress),
    /// The change names something twice.
    #[error("{0} stands there twice; nothing was changed. Name each station and each address once")]
    Repeated(String),
    /// The file says where the station is.
    #[error(
        "station {0} is written in the file, which has the last word; nothing was changed. Take it out of the file first"
    )]
    Written(MacAddress),
    /// The file says whose address it is.
    #[error(
        "station {mac}: the address {address} is a station's in the file, which has the last word; nothing was changed. Take it \
         out of the file first"
    )]
    WrittenAddress {
        /// The station.
        mac: MacAddress,
        /// Its address.
        address: IpAddr,
    },
    /// The station is here.
    #[error(
        "station {mac} is on this machine, at port {port}; nothing was changed. Take the port away first, or name another station"
    )]
    Local {
        /// The station.
        mac: MacAddress,
        /// Its port.
        port: String,
    },
    /// Another station that is fed has the address.
    #[error(
        "station {mac}: the address {address} is that of station {owner}; nothing was changed. Give it to one of them, or change \
         both in one request"
    )]
    AddressTaken {
        /// The station.
        mac: MacAddress,
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: MacAddress,
    },
    /// No station of the network can have the address.
    #[error("station {mac}: found address {address}, expected {expected}; nothing was changed")]
    Address {
        /// The station.
        mac: MacAddress,
        /// The address.
        address: IpAddr,
        /// What would be right.
        expected: String,
    },
    /// The station cannot be behind that address.
    #[error("station {mac}: found vtep {vtep}, expected {expected}; nothing was changed")]
    Vtep {
        /// The station.
        mac: MacAddress,
        /// The other end of the tunnel.
        vtep: IpAddr,
        /// What would be right.
        expected: String,
    },
    /// There would be more than there is room for.
    #[error("{count} {what} are more than the {max} that there is room for; nothing was changed. Feed fewer")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// How many there can be.
        max: usize,
    },
}
